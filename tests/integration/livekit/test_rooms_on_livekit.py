"""Whose room it is and who is in it, on a real LiveKit server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from livekit import api, rtc
from livekit.protocol.models import ParticipantInfo
from pydantic import SecretStr
from redis.asyncio import Redis

from devstack.servers import LiveKitServer
from services.verifier.admit.reservations import Reservations
from services.verifier.close.close import Closer
from services.verifier.prove.observe import JobSighting, look_at_room
from services.verifier.repository import Repository
from shared.contracts.identifiers import new_id
from shared.contracts.keys import SESSION_ATTRIBUTE
from shared.contracts.sessions import ENDED_BY_REQUEST, LIVE, SessionStatus
from shared.contracts.settings import LiveKitSettings, SessionLimitSettings
from shared.core.sessions.outbox import Relay
from shared.core.sessions.tables import SessionRow
from shared.platform.celery.tasks import TaskSender
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from shared.platform.livekit.client import LiveKit
from tests.integration.rows import get_session, put_session
from tests.support.sessions import until

S = SessionStatus
HANG_UP = "participant_disconnected"


class Premises:
    """One room's name on a real server, sessions that had it, and real participants in it."""

    def __init__(self, server: LiveKitServer, livekit: LiveKit, database: Database, redis: Redis) -> None:
        self.name = f"room-{new_id()}"
        self.livekit = livekit
        self.database = database
        self._server = server
        self.repository = Repository(database, join_budget_s=15, now=utc_now)
        self._closer = Closer(repository=self.repository, rooms=livekit, redis=redis, now=utc_now)
        self._guests = AsyncExitStack()

    async def leave_all(self) -> None:
        await self._guests.aclose()

    async def join(
        self,
        identity: str,
        *,
        kind: str = "standard",
        attributes: dict[str, str] | None = None,
        **grants: Any,
    ) -> rtc.Room:
        """Somebody comes; returns when LiveKit lists the participant as ACTIVE."""
        token = (
            api.AccessToken(self._server.api_key, self._server.api_secret)
            .with_identity(identity)
            .with_kind(kind)  # type: ignore[arg-type]  # the SDK names fewer kinds than the server takes
            .with_attributes(attributes or {})
            .with_grants(api.VideoGrants(room_join=True, room=self.name, **grants))
        )
        room = rtc.Room()
        await room.connect(self._server.url, token.to_jwt())
        self._guests.push_async_callback(room.disconnect)
        await until(lambda: self._is_listed(identity), what=f"{identity} is in the room")
        return room

    async def agent(self, row: SessionRow) -> rtc.Room:
        """The agent of a session, by the attributes that our workers' agents have."""
        return await self.join(f"agent-{row.id}", kind="agent", attributes={SESSION_ATTRIBUTE: row.id})

    async def session(self, status: SessionStatus, *, ended_s_ago: float = 0, **changes: Any) -> SessionRow:
        """A session that had the room which is there now, if one is, with `caller` as its caller."""
        room = await self.livekit.room(self.name)
        now = utc_now()
        over = {} if status in LIVE else {"ended_at": now - timedelta(seconds=ended_s_ago)}
        return await put_session(
            self.database,
            status=status,
            attempt={"number": 1},
            room_name=self.name,
            **{
                "room_is_ours": False,
                "room_sid": room and room.sid,
                "participant_identity": "caller",
                "requested_at": now - timedelta(seconds=60),
                "next_check_at": now,
                **over,
                **changes,
            },
        )

    async def uses_reservation(self, relay: Relay) -> bool:
        """Whether a look at the room makes a request of its reservation."""
        row = await self.reservation(project=f"project-{new_id()}")
        await self.look_at_reservations(relay, SessionLimitSettings())
        return (await get_session(self.database, row.id)).status == S.REQUESTED

    async def reservation(self, **changes: Any) -> SessionRow:
        ends = utc_now() + timedelta(minutes=5)
        return await self.session(S.RESERVED, next_check_at=None, deadline_at=ends, **changes)

    async def look_at_reservations(self, relay: Relay, limits: SessionLimitSettings) -> None:
        reservations = Reservations(
            database=self.database,
            rooms=self.livekit,
            relay=relay,
            limits=limits,
            join_budget_s=15,
            holder="test",
            now=utc_now,
        )
        await reservations.look_at_rooms()

    async def close(self, row: SessionRow) -> None:
        async with self.database.write() as db:
            (await db.get_one(SessionRow, row.id)).attempt = 1
        await self._closer.close(await get_session(self.database, row.id))

    async def who(self) -> list[str]:
        return sorted(one.identity for one in await self.livekit.participants(self.name))

    async def until_there(self, *identities: str) -> None:
        async def check() -> bool:
            return await self.who() == sorted(identities)

        await until(check, what=f"{identities} are in the room, and nobody else")

    async def sid(self) -> str | None:
        room = await self.livekit.room(self.name)
        return room.sid if room else None

    async def _is_listed(self, identity: str) -> bool:
        state = api.ParticipantInfo.State.ACTIVE
        present = await self.livekit.participants(self.name)
        return any(one.identity == identity and one.state == state for one in present)


@pytest.fixture
async def livekit(livekit_server: LiveKitServer) -> AsyncIterator[LiveKit]:
    secret = SecretStr(livekit_server.api_secret)
    settings = LiveKitSettings(
        livekit_url=livekit_server.url, livekit_api_key=livekit_server.api_key, livekit_api_secret=secret
    )
    client = LiveKit(settings)
    yield client
    await client.close()


@pytest.fixture
async def premises(
    livekit_server: LiveKitServer, livekit: LiveKit, sqlite_url: str, redis: Redis
) -> AsyncIterator[Premises]:
    database = Database(sqlite_url)
    made = Premises(livekit_server, livekit, database, redis)
    yield made
    await made.leave_all()
    await database.close()


@pytest.fixture
def relay(premises: Premises, redis: Redis, tasks: TaskSender) -> Relay:
    return Relay(database=premises.database, redis=redis, tasks=tasks)


ENDS = pytest.mark.parametrize(
    "end", [{"end_reason": HANG_UP}, {"end_reason": ENDED_BY_REQUEST}], ids=["hang-up", "delete"]
)
OURS = pytest.mark.parametrize("ours", [False, True], ids=["named", "generated"])


@ENDS
@OURS
async def test_the_other_people_in_a_room_stay_when_a_session_ends(
    premises: Premises, end: dict[str, Any], ours: bool
) -> None:
    await premises.join("caller")
    await premises.join("another")
    row = await premises.session(S.ENDED, room_is_ours=ours, **end)
    await premises.agent(row)
    await premises.close(row)
    await premises.until_there("another", "caller")
    assert await premises.sid() == row.room_sid


@ENDS
@pytest.mark.parametrize("ended_s_ago", [1, 10, 590])
async def test_a_room_that_has_a_new_session_is_left_to_it(
    premises: Premises, end: dict[str, Any], ended_s_ago: float
) -> None:
    """The first call's room may have outlived it (the same sid) or not: the look is the same."""
    await premises.join("caller")
    first = await premises.session(S.ENDED, ended_s_ago=ended_s_ago, **end)
    second = await premises.session(S.ACTIVE)
    await asyncio.gather(premises.agent(first), premises.agent(second))
    await premises.close(first)
    await premises.until_there(f"agent-{second.id}", "caller")


@ENDS
@pytest.mark.parametrize(
    ("ours", "who"), [(False, ["caller"]), (False, ["another", "caller"]), (True, ["another", "caller"])]
)
async def test_people_who_use_the_name_again_without_a_session_are_left_alone(
    premises: Premises, end: dict[str, Any], ours: bool, who: list[str]
) -> None:
    row = await premises.session(S.ENDED, room_is_ours=ours, room_sid="RM_before", ended_s_ago=5, **end)
    for identity in who:
        await premises.join(identity)
    await premises.close(row)
    assert await premises.who() == who


async def test_a_room_that_somebody_has_made_under_the_name_and_nobody_is_in_yet_is_left_alone(
    premises: Premises, livekit: LiveKit
) -> None:
    row = await premises.session(S.ENDED, room_is_ours=True, room_sid="RM_before", ended_s_ago=5)
    made = await livekit.create_room(premises.name, agents=[], empty_timeout_s=60, departure_timeout_s=20)
    await premises.close(row)
    assert await premises.sid() == made.sid


async def test_who_comes_back_with_the_token_of_a_call_that_is_over_is_put_out(premises: Premises) -> None:
    row = await premises.session(S.ENDED, room_is_ours=True, room_sid="RM_before", ended_s_ago=5)
    await premises.join("caller")
    await premises.close(row)
    assert await premises.sid() is None


async def test_who_has_stayed_in_a_clients_room_after_an_outage_stays_there(premises: Premises) -> None:
    await premises.join("caller")
    row = await premises.session(S.ENDED, end_reason=ENDED_BY_REQUEST, ended_s_ago=300)
    await premises.agent(row)
    await premises.close(row)
    await premises.until_there("caller")


@pytest.mark.parametrize(
    ("row", "closed"),
    [
        ({"room_is_ours": False, "end_reason": ENDED_BY_REQUEST}, True),
        ({"room_is_ours": False, "end_reason": "task_completed"}, False),
        ({"room_is_ours": False, "status": S.FAILED}, False),
        ({"room_is_ours": True, "end_reason": "task_completed"}, True),
        ({"room_is_ours": True, "status": S.FAILED}, True),
        ({"room_is_ours": True, "room_sid": None, "status": S.CANCELLED}, True),
        ({"room_is_ours": False, "room_sid": None, "end_reason": ENDED_BY_REQUEST}, False),
    ],
    ids=str,
)
async def test_a_caller_alone_leaves_with_a_room_of_the_sessions_own_or_by_request(
    premises: Premises, row: dict[str, Any], closed: bool
) -> None:
    await premises.join("caller")
    made = await premises.session(row.pop("status", S.ENDED), **row)
    await premises.agent(made)
    await premises.close(made)
    await premises.until_there(*([] if closed else ["caller"]))
    assert (await premises.sid() is None) is closed


async def test_a_late_agent_is_cleared_away_with_the_room_that_it_made_anew(premises: Premises) -> None:
    row = await premises.session(S.ENDED, room_is_ours=True, room_sid="RM_before", ended_s_ago=20)
    await premises.agent(row)
    await premises.close(row)
    await premises.until_there()
    assert await premises.sid() is None


async def test_a_late_agent_leaves_people_who_have_come_meanwhile(premises: Premises) -> None:
    row = await premises.session(S.ENDED, room_is_ours=True, room_sid="RM_before", ended_s_ago=20)
    await premises.join("another")
    await premises.agent(row)
    await premises.close(row)
    await premises.until_there("another")


async def test_a_recorder_and_a_hidden_listener_hold_no_room_open(premises: Premises) -> None:
    await premises.join("caller")
    await premises.join("recorder", recorder=True, hidden=True)
    await premises.join("listener", hidden=True)
    await premises.join("camera", kind="ingress")
    row = await premises.session(S.ENDED, room_is_ours=True, end_reason=ENDED_BY_REQUEST)
    await premises.close(row)
    await premises.until_there()
    assert await premises.sid() is None


async def test_a_call_that_livekit_made_in_another_room_after_a_restart_is_still_ended(
    premises: Premises,
) -> None:
    """LiveKit without Redis forgets its rooms; caller and agent come back into a room of another sid."""
    await premises.join("caller")
    row = await premises.session(S.ENDED, room_is_ours=True, end_reason=ENDED_BY_REQUEST, room_sid="RM_old")
    await premises.agent(row)
    async with premises.database.write() as db:
        (await db.get_one(SessionRow, row.id)).ended_at = utc_now() + timedelta(seconds=1)
    await premises.close(row)
    await premises.until_there()


@pytest.mark.parametrize("kind", ["standard", "sip", "connector", "bridge"])
async def test_a_caller_of_any_kind_is_one(premises: Premises, kind: str, relay: Relay) -> None:
    await premises.join("caller", kind=kind)
    [listed] = await premises.livekit.participants(premises.name)
    assert ParticipantInfo.Kind.Name(listed.kind) == kind.upper(), "the server takes this kind"
    row = await premises.session(S.ACTIVE)
    assert (await look_at_room(row, rooms=premises.livekit, job=JobSighting())).callers == 1
    assert await premises.uses_reservation(relay)


@pytest.mark.parametrize(
    "join",
    [
        {"kind": "egress"},
        {"kind": "ingress"},
        {"kind": "agent"},
        {"recorder": True},
        {"hidden": True},
        {"kind": "sip", "hidden": True},
    ],
    ids=str,
)
async def test_whoever_stands_for_no_person_is_no_caller(
    premises: Premises, join: dict[str, Any], relay: Relay
) -> None:
    await premises.join("somebody", **join)
    row = await premises.session(S.ACTIVE)
    sighting = await look_at_room(row, rooms=premises.livekit, job=JobSighting())
    assert (sighting.callers, sighting.participants) == (0, 1)
    assert not await premises.uses_reservation(relay)


async def test_a_caller_whose_session_is_one_too_many_is_told_so_in_the_room(
    premises: Premises, relay: Relay
) -> None:
    limits = SessionLimitSettings(max_sessions_key=1)
    await put_session(premises.database, status=S.ACTIVE, api_key_id="key", room_name="another")
    row = await premises.reservation(api_key_id="key", room_is_ours=True)
    room = await premises.join("caller")
    told: list[str] = []
    room.on("room_metadata_changed", lambda _, metadata: told.append(metadata))
    hung_up = asyncio.Event()
    room.on("disconnected", lambda _: hung_up.set())
    await premises.look_at_reservations(relay, limits)
    refused = await get_session(premises.database, row.id)
    assert (refused.status, refused.cause) == (S.CANCELLED, "too_many_sessions")
    await premises.close(refused)
    await asyncio.wait_for(hung_up.wait(), 30)
    [why] = told
    assert json.loads(why) == {
        "rollcall": {"session_id": row.id, "status": "cancelled", "cause": "too_many_sessions"}
    }
