"""What an ended session left in LiveKit is cleared."""

from services.verifier.close.close import RETRY, SECOND_LOOK
from shared.contracts.identifiers import SessionId
from shared.contracts.keys import FENCE_CLOSED, fence_key
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.tables import SessionRow
from tests.integration.rows import (
    get_session,
)
from tests.integration.verifier.verifier_bench import Bench
from tests.unit.fake_rooms import unreachable
from tests.unit.making import T0, make_agent

S = SessionStatus


async def close(bench: Bench, row: SessionRow) -> SessionRow:
    await bench.closer.close(await bench.repository.read_session(row.id))
    return await get_session(bench.database, row.id)


async def test_an_ended_session_is_cleared_away_twice_and_then_left(bench: Bench) -> None:
    row = await bench.put(S.ENDED, next_check_at=T0, ended_at=T0, room_is_ours=True)
    bench.rooms.add_dispatch("lobby", {"rollcall.session": row.id})
    stored = await close(bench, row)
    assert "lobby" not in bench.rooms.sids
    assert await bench.redis.get(fence_key(SessionId(row.id))) == FENCE_CLOSED
    assert stored.next_check_at == T0 + SECOND_LOOK
    bench.rooms.open_room("lobby", make_agent(session_id=row.id, attempt=1))  # a late agent made it anew
    bench.clock.time = T0 + SECOND_LOOK
    stored = await close(bench, row)
    assert "lobby" not in bench.rooms.sids
    assert stored.next_check_at is None


async def test_a_session_that_got_its_agent_at_once_is_closed_by_two_calls_for_good(bench: Bench) -> None:
    row = await bench.put(S.ENDED, next_check_at=T0, ended_at=T0, room_is_ours=True, agent_sid="PA_1")
    bench.rooms.people["lobby"].append(make_agent(session_id=row.id, attempt=1))
    stored = await close(bench, row)
    assert "lobby" not in bench.rooms.sids
    assert bench.rooms.calls == ["participants", "delete_room"]
    assert stored.next_check_at is None


async def test_in_a_room_of_somebody_else_only_our_agent_is_sent_away(bench: Bench) -> None:
    row = await bench.put(S.FAILED, next_check_at=T0, ended_at=T0, room_is_ours=False)
    bench.rooms.people["lobby"] += [
        make_agent("agent-ours", session_id=row.id, attempt=1),
        make_agent("agent-theirs", session_id="another"),
    ]
    await close(bench, row)
    assert bench.rooms.identities("lobby") == ["caller-1", "agent-theirs"]


async def test_a_session_that_lives_is_not_cleared_away(bench: Bench) -> None:
    row = await bench.put(S.ACTIVE, next_check_at=T0)
    assert await close(bench, row) == row
    assert bench.rooms.calls == []


async def test_a_livekit_that_is_away_is_asked_again_to_clear_up(bench: Bench) -> None:
    row = await bench.put(S.ENDED, next_check_at=T0, ended_at=T0)
    bench.rooms.down = unreachable()
    assert (await close(bench, row)).next_check_at == T0 + RETRY
    bench.rooms.down = None
    await close(bench, row)
    assert "lobby" not in bench.rooms.sids
