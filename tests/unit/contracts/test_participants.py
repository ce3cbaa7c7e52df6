"""Who in a room is a caller: every kind that stands for a person, and nobody whom the room doesn't show."""

from typing import Any

import pytest
from livekit import rtc
from livekit.protocol.models import ParticipantInfo, ParticipantPermission

from shared.contracts.participants import stands_for_person
from shared.platform.livekit.client import is_caller

MACHINES = {"INGRESS", "EGRESS", "AGENT"}
A_LATER_KIND = 99


@pytest.mark.parametrize("name", ParticipantInfo.Kind.keys())
def test_every_kind_of_the_server_is_a_caller_but_machines(name: str) -> None:
    kind: Any = ParticipantInfo.Kind.Value(name)
    participant = ParticipantInfo(kind=kind)
    assert is_caller(participant) is (name not in MACHINES)


@pytest.mark.parametrize("name", rtc.ParticipantKind.keys())
def test_the_same_holds_for_the_kinds_as_the_sdk_counts_them(name: str) -> None:
    kind = rtc.ParticipantKind.Value(name)
    assert stands_for_person(kind) is (name.removeprefix("PARTICIPANT_KIND_") not in MACHINES)


def test_a_kind_that_comes_later_is_a_person() -> None:
    assert stands_for_person(A_LATER_KIND)


@pytest.mark.parametrize("permission", [{"hidden": True}, {"recorder": True}])
def test_nobody_whom_the_room_does_not_show_is_a_caller(permission: dict[str, Any]) -> None:
    assert not is_caller(ParticipantInfo(permission=ParticipantPermission(**permission)))
