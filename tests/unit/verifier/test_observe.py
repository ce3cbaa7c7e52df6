"""One look at a room binds its agents to the attempts of a session."""

import pytest
from livekit.protocol.agent import JobStatus
from livekit.protocol.models import ParticipantInfo

from services.verifier.prove.observe import JobSighting, Sighting, look_at_job, look_at_room
from shared.core.sessions.tables import SessionRow
from tests.unit.fake_rooms import FakeRooms
from tests.unit.making import make_agent, make_caller, make_session

JOINING = ParticipantInfo.State.JOINING
JOINED = ParticipantInfo.State.JOINED


@pytest.fixture
def row() -> SessionRow:
    return make_session(attempt=2)


@pytest.fixture
def rooms() -> FakeRooms:
    return FakeRooms()


async def sight(
    row: SessionRow, rooms: FakeRooms, *people: ParticipantInfo, job: JobSighting | None = None
) -> Sighting:
    rooms.open_room(row.room_name, *people)
    return await look_at_room(row, rooms=rooms, job=job or JobSighting())


async def test_the_agent_of_this_attempt_is_the_one_that_says_so(row: SessionRow, rooms: FakeRooms) -> None:
    agent = make_agent(session_id=row.id, attempt=2)
    found = await sight(row, rooms, make_caller(), agent)
    assert found == Sighting(agent=agent, callers=1, participants=2)


@pytest.mark.parametrize("state", [JOINING, JOINED])
async def test_an_agent_that_is_not_yet_active_is_connecting(
    row: SessionRow, rooms: FakeRooms, state: ParticipantInfo.State
) -> None:
    agent = make_agent(session_id=row.id, attempt=2, state=state)
    found = await sight(row, rooms, agent)
    assert (found.agent, found.connecting) == (None, agent)


@pytest.mark.parametrize("attempt", [1, 3, None])
async def test_an_agent_of_another_attempt_is_extra(
    row: SessionRow, rooms: FakeRooms, attempt: int | None
) -> None:
    stray = make_agent(session_id=row.id, attempt=attempt)
    found = await sight(row, rooms, stray)
    assert (found.agent, found.extra) == (None, [stray])


async def test_a_second_agent_of_the_same_attempt_is_extra(row: SessionRow, rooms: FakeRooms) -> None:
    first = make_agent("agent-AJ_1", session_id=row.id, attempt=2)
    second = make_agent("agent-AJ_2", session_id=row.id, attempt=2)
    found = await sight(row, rooms, first, second)
    assert (found.agent, found.extra) == (first, [second])


async def test_a_foreign_workers_agent_is_bound_by_the_identity_of_its_job(
    row: SessionRow, rooms: FakeRooms
) -> None:
    agent = make_agent("agent-AJ_5")
    found = await sight(row, rooms, agent, job=JobSighting(identity="agent-AJ_5"))
    assert (found.agent, found.unbound) == (agent, [])


async def test_a_foreign_workers_agent_without_a_known_job_proves_nothing(
    row: SessionRow, rooms: FakeRooms
) -> None:
    agent = make_agent("agent-AJ_5")
    found = await sight(row, rooms, agent, job=JobSighting(identity="agent-AJ_6"))
    assert (found.agent, found.extra, found.unbound) == (None, [], [agent])


async def test_the_agent_of_another_session_in_the_same_room_is_left_alone(
    row: SessionRow, rooms: FakeRooms
) -> None:
    other = make_agent(session_id="another-session", attempt=2)
    found = await sight(row, rooms, other, job=JobSighting(identity=other.identity))
    assert (found.agent, found.connecting, found.extra, found.unbound) == (None, None, [], [])
    assert found.participants == 1


async def test_an_agent_of_another_name_is_not_the_one_that_was_asked_for(
    row: SessionRow, rooms: FakeRooms
) -> None:
    found = await sight(row, rooms, make_agent(name="billing", session_id=row.id, attempt=2))
    assert (found.agent, found.extra, found.unbound) == (None, [], [])


async def test_an_avatar_is_not_counted_as_a_second_agent(row: SessionRow, rooms: FakeRooms) -> None:
    agent = make_agent(session_id=row.id, attempt=2)
    avatar = make_agent(
        "avatar", session_id=row.id, attempt=2, attributes={"lk.publish_on_behalf": agent.identity}
    )
    found = await sight(row, rooms, avatar, agent)
    assert (found.agent, found.extra, found.callers) == (agent, [], 0)


async def test_a_human_named_like_an_agent_proves_nothing(row: SessionRow, rooms: FakeRooms) -> None:
    human = make_caller("agent-AJ_1", attributes=dict(make_agent(session_id=row.id, attempt=2).attributes))
    found = await sight(row, rooms, human, job=JobSighting(identity="agent-AJ_1"))
    assert (found.agent, found.extra, found.unbound) == (None, [], [])
    assert found.callers == 1


async def test_callers_are_people_and_telephones_but_no_recorders(row: SessionRow, rooms: FakeRooms) -> None:
    kinds = ParticipantInfo.Kind
    found = await sight(
        row,
        rooms,
        make_caller("web"),
        make_caller("phone", kind=kinds.SIP),
        make_caller("recorder", kind=kinds.EGRESS),
    )
    assert (found.callers, found.participants) == (2, 3)


async def test_an_empty_room_shows_nothing(row: SessionRow, rooms: FakeRooms) -> None:
    assert await look_at_room(row, rooms=rooms, job=JobSighting()) == Sighting()


async def test_the_job_of_our_dispatch_gives_the_identity(row: SessionRow, rooms: FakeRooms) -> None:
    rooms.open_room(row.room_name)
    rooms.give_job(rooms.add_dispatch(row.room_name, {}), "agent-AJ_1")
    ours = rooms.give_job(rooms.add_dispatch(row.room_name, {}), "agent-AJ_2")
    assert await look_at_job(row, ours.id, rooms=rooms) == JobSighting(
        identity="agent-AJ_2", job_id="AJ_agent-AJ_2"
    )


async def test_of_two_agents_the_one_whose_job_is_known_stays(row: SessionRow, rooms: FakeRooms) -> None:
    first, second = (make_agent(f"agent-AJ_{n}", session_id=row.id, attempt=2) for n in (1, 2))
    found = await sight(row, rooms, first, second, job=JobSighting(identity="agent-AJ_2"))
    assert (found.agent, found.extra) == (second, [first])


async def test_of_two_agents_that_nobody_knows_the_one_that_came_first_stays(
    row: SessionRow, rooms: FakeRooms
) -> None:
    late = make_agent("agent-AJ_1", session_id=row.id, attempt=2)
    early = make_agent("agent-AJ_2", session_id=row.id, attempt=2)
    late.joined_at_ms, early.joined_at_ms = 2000, 1000
    found = await sight(row, rooms, late, early)
    assert (found.agent, found.extra) == (early, [late])


async def test_a_dispatch_that_livekit_has_made_anew_is_the_attempts(
    row: SessionRow, rooms: FakeRooms
) -> None:
    rooms.open_room(row.room_name)
    bound = {"rollcall.session": row.id, "rollcall.attempt": "2"}
    rooms.give_job(rooms.add_dispatch(row.room_name, {**bound, "rollcall.attempt": "1"}), "agent-AJ_1")
    rooms.give_job(rooms.add_dispatch(row.room_name, bound), "agent-AJ_2")
    assert (await look_at_job(row, "AD_gone", rooms=rooms)).identity == "agent-AJ_2"


async def test_a_dispatch_without_a_job_proves_nothing(row: SessionRow, rooms: FakeRooms) -> None:
    rooms.open_room(row.room_name)
    ours = rooms.add_dispatch(row.room_name, {})
    assert await look_at_job(row, ours.id, rooms=rooms) == JobSighting()
    assert await look_at_job(row, "AD_gone", rooms=rooms) == JobSighting()


async def test_a_job_that_succeeded_without_a_participant_was_turned_down(
    row: SessionRow, rooms: FakeRooms
) -> None:
    rooms.open_room(row.room_name)
    ours = rooms.give_job(rooms.add_dispatch(row.room_name, {}), "", JobStatus.JS_SUCCESS)
    assert await look_at_job(row, ours.id, rooms=rooms) == JobSighting(refused=True, job_id="AJ_")


async def test_of_several_jobs_the_last_counts(row: SessionRow, rooms: FakeRooms) -> None:
    rooms.open_room(row.room_name)
    ours = rooms.give_job(rooms.add_dispatch(row.room_name, {}), "agent-AJ_1")
    rooms.give_job(ours, "agent-AJ_2")
    assert (await look_at_job(row, ours.id, rooms=rooms)).identity == "agent-AJ_2"
