"""The agent talks with the session's caller, whenever it can know who that is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from livekit import rtc

from services.agent.linked_participant import KINDS, LinkedParticipant, Person, Wanted, choose
from tests.unit.agent.agent_fakes import an_order

ANN, BOB, CAT = "ann", "bob", "cat"
SILENT = {"speaks": False}
PHONE = Person("sip_1", by_token=False)
ANN_ALONE = Wanted(ANN, only=True)
PROBABLY_ANN = Wanted(ANN)
ANN_CAME = Wanted(ANN, only=True, came=True)


@pytest.mark.parametrize(
    ("people", "wanted", "now_with", "chosen"),
    [
        ([], ANN_ALONE, None, None),
        ([Person(BOB, **SILENT)], ANN_ALONE, None, None),
        ([Person(BOB)], ANN_ALONE, None, None),
        ([Person(BOB, **SILENT), Person(ANN)], ANN_ALONE, None, ANN),
        ([Person(BOB), Person(ANN, **SILENT)], ANN_ALONE, None, ANN),
        ([Person(BOB), PHONE], ANN_ALONE, None, "sip_1"),
        ([PHONE, Person(ANN)], ANN_ALONE, "sip_1", ANN),
        ([Person(BOB)], ANN_CAME, ANN, BOB),
        ([Person(BOB), Person(ANN)], ANN_CAME, BOB, ANN),
        ([Person(BOB), Person(CAT)], ANN_CAME, CAT, CAT),
        ([Person(BOB, **SILENT), Person(CAT)], ANN_CAME, ANN, CAT),
        ([Person(BOB), PHONE], ANN_CAME, BOB, BOB),
        ([Person(BOB)], PROBABLY_ANN, None, BOB),
        ([Person(BOB, **SILENT)], PROBABLY_ANN, None, BOB),
        ([Person(BOB, **SILENT), Person(CAT)], PROBABLY_ANN, BOB, CAT),
        ([Person(BOB), Person(CAT, **SILENT), Person(ANN)], PROBABLY_ANN, BOB, ANN),
        ([Person(BOB, **SILENT), Person(CAT)], Wanted(), None, CAT),
        ([Person(BOB), Person(CAT)], Wanted(), None, BOB),
    ],
)
def test_the_caller_is_first_and_somebody_else_only_where_it_may_be_the_caller(
    people: list[Person], wanted: Wanted, now_with: str | None, chosen: str | None
) -> None:
    assert choose(people, wanted, now_with=now_with) == chosen


def test_every_kind_that_is_no_machine_may_be_linked() -> None:
    kinds = rtc.ParticipantKind.values()
    machines = {
        rtc.ParticipantKind.PARTICIPANT_KIND_INGRESS,
        rtc.ParticipantKind.PARTICIPANT_KIND_EGRESS,
        rtc.ParticipantKind.PARTICIPANT_KIND_AGENT,
    }
    assert set(kinds) - set(KINDS) == machines
    assert {7, 8, 9} <= set(KINDS), "as the server counts connectors and bridges, and what comes later"


STANDARD, SIP, EGRESS = (
    rtc.ParticipantKind.PARTICIPANT_KIND_STANDARD,
    rtc.ParticipantKind.PARTICIPANT_KIND_SIP,
    rtc.ParticipantKind.PARTICIPANT_KIND_EGRESS,
)
GOODBYE = rtc.DisconnectReason.CLIENT_INITIATED
LOST = rtc.DisconnectReason.CONNECTION_TIMEOUT


class FakeRoom(rtc.EventEmitter[str]):
    """A room in which people come, speak and leave."""

    def __init__(self) -> None:
        super().__init__()
        self.remote_participants: dict[str, Any] = {}

    def join(
        self,
        identity: str,
        *,
        kind: int = STANDARD,
        hidden: bool = False,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        joined = self.remote_participants[identity] = SimpleNamespace(
            identity=identity,
            kind=kind,
            permissions=SimpleNamespace(hidden=hidden),
            attributes=dict(attributes or {}),
            track_publications={},
            disconnect_reason=None,
        )
        self.emit("participant_connected", joined)

    def publish(self, identity: str) -> None:
        publication = SimpleNamespace(kind=rtc.TrackKind.KIND_AUDIO)
        self.remote_participants[identity].track_publications["TR_1"] = publication
        self.emit("track_published", publication, self.remote_participants[identity])

    def leave(self, identity: str, reason: int = GOODBYE) -> None:
        gone = self.remote_participants.pop(identity)
        gone.disconnect_reason = reason
        self.emit("participant_disconnected", gone)


@dataclass
class FakeSession:
    """A session, and the participants to whom it was linked; the SDK unlinks one who leaves."""

    room: FakeRoom
    links: list[str] = field(default_factory=list)

    @property
    def room_io(self) -> "FakeSession":
        return self

    @property
    def linked_participant(self) -> Any:
        return self.room.remote_participants.get(self.links[-1]) if self.links else None

    def set_participant(self, identity: str) -> None:
        self.links.append(identity)


class Following:
    """A partner in a room; `closed` counts how often nobody was left."""

    def __init__(self, **order: Any) -> None:
        self.closed = 0
        self.room = FakeRoom()
        self.session = FakeSession(self.room)
        given = an_order(**{"caller_identity": ANN, "caller_only": True, **order})
        self.partner = LinkedParticipant(cast(rtc.Room, self.room), given, on_last_left=self._close)
        self.partner.follow(cast(Any, self.session))

    def _close(self) -> None:
        self.closed += 1


def test_an_observer_who_comes_first_is_not_the_partner_and_may_leave() -> None:
    it = Following()
    it.room.join(BOB)
    it.room.publish(BOB)
    assert it.session.links == []
    it.room.join(ANN)
    it.room.leave(BOB)
    assert it.session.links == [ANN]
    assert it.closed == 0
    it.room.leave(ANN)
    assert it.closed == 1


def test_the_agent_stays_with_whoever_is_left_and_goes_with_the_last() -> None:
    it = Following()
    for identity in (ANN, BOB, CAT):
        it.room.join(identity)
    it.room.publish(CAT)
    it.room.leave(ANN)
    assert it.session.links == [ANN, CAT], "who speaks, and not who came first"
    it.room.leave(CAT)
    assert it.session.links == [ANN, CAT, BOB]
    assert it.closed == 0
    it.room.leave(BOB)
    assert it.closed == 1


@pytest.mark.parametrize("reason", [LOST, rtc.DisconnectReason.DUPLICATE_IDENTITY])
def test_a_caller_who_is_lost_may_come_back(reason: int) -> None:
    it = Following()
    it.room.join(ANN)
    it.room.leave(ANN, reason)
    it.room.join(ANN)
    assert it.closed == 0
    assert it.session.linked_participant is it.room.remote_participants[ANN]
    it.room.join(BOB)
    it.room.leave(ANN, reason)
    it.room.join(ANN)
    assert it.session.links == [ANN, BOB, ANN]
    assert it.closed == 0


def test_an_agent_that_takes_over_from_another_serves_who_is_there() -> None:
    it = Following(takes_over=True)
    it.room.join(BOB)
    assert it.session.links == [BOB]


def test_whoever_has_written_speaks() -> None:
    it = Following(caller_identity=None, caller_only=False)
    it.room.join(BOB)
    it.room.join(CAT)
    assert it.session.links == [BOB]
    assert it.partner.writes(CAT)
    assert not it.partner.writes(BOB)
    assert it.session.links == [BOB, CAT]


def test_a_stranger_who_writes_is_not_answered() -> None:
    it = Following()
    it.room.join(BOB)
    assert not it.partner.writes(BOB)
    it.room.join(ANN)
    assert not it.partner.writes(BOB)
    assert it.partner.writes(ANN)


def test_machines_the_hidden_and_an_agents_other_half_are_nobody() -> None:
    it = Following(caller_identity=None, caller_only=False)
    it.room.join("recorder", kind=EGRESS)
    it.room.join("monitor", hidden=True)
    it.room.join("avatar", attributes={"lk.publish_on_behalf": "agent-AJ_1"})
    assert it.session.links == []
    it.room.join("sip_1", kind=SIP)
    it.room.leave("sip_1")
    assert it.closed == 1


def test_what_was_said_is_the_words_of_who_was_the_partner_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("services.agent.linked_participant.time.time", lambda: now)
    it = Following()
    assert it.partner.at(now) is None
    it.room.join(ANN)
    it.room.join(BOB)
    now = 1010.0
    it.room.leave(ANN)
    assert [it.partner.at(moment) for moment in (990.0, 1000.0, 1009.9, 1010.0, 2000.0)] == [
        ANN,
        ANN,
        ANN,
        BOB,
        BOB,
    ]
