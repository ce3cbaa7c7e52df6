"""A job whose beats come over the API is judged silent only while its worker is heard by the same way."""

import pytest
from redis.asyncio import Redis

from services.verifier.liveness import FORGOTTEN_AFTER_S, Liveness
from services.verifier.ways import RETURN_S
from shared.contracts.identifiers import SessionId
from shared.core.workers.beats import Beat, forget_way, note_way, read_beats, write_job_beats
from tests.integration.verifier.test_liveness import Hand

SILENCE_S = 2.5
SESSION = SessionId("s")


class Line:
    """A worker W and its job, over one way, as a test lets them be heard."""

    def __init__(self, redis: Redis, hand: Hand, liveness: Liveness) -> None:
        self._redis, self._hand, self._liveness = redis, hand, liveness
        self._count = 0
        self.connection = "c1"

    async def go_on(self, seconds: float, *, worker: bool = True, job: bool = True) -> None:
        """Let time pass, in which the worker beats once a second and the job twice."""
        for step in range(int(seconds / 0.25)):
            self._count += 1
            if worker and step % 4 == 0:
                await note_way(self._redis, "W", connection=self.connection, count=self._count)
            if job and step % 2 == 0:
                await write_job_beats(self._redis, [Beat(SESSION, 1, "AJ_1", self._count, "W")])
            self._hand.time += 0.25
            await self._liveness.read()

    @property
    def is_silent(self) -> bool:
        return self._liveness.is_silent(SESSION, 1, is_ready=True)


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def liveness(redis: Redis, hand: Hand) -> Liveness:
    return Liveness(redis, silence_s=SILENCE_S, clock=hand)


@pytest.fixture
async def line(redis: Redis, hand: Hand, liveness: Liveness) -> Line:
    """Heard long enough for its silence to count."""
    made = Line(redis, hand, liveness)
    await made.go_on(RETURN_S + 2)
    return made


async def test_a_job_dies_while_its_worker_is_heard(line: Line) -> None:
    await line.go_on(SILENCE_S - 0.5, job=False)
    assert not line.is_silent
    await line.go_on(2, job=False)
    assert line.is_silent


async def test_a_broken_way_is_not_a_dead_job(line: Line) -> None:
    await line.go_on(30, worker=False, job=False)
    assert not line.is_silent


async def test_a_closed_connection_is_not_a_dead_job(line: Line, redis: Redis) -> None:
    await forget_way(redis, "W")
    await line.go_on(30, worker=False, job=False)
    assert not line.is_silent


async def test_jobs_have_time_to_return_after_their_worker(line: Line) -> None:
    await line.go_on(1, worker=False, job=False)  # the API restarts within a second
    line.connection = "c2"
    await line.go_on(RETURN_S + 1, job=False)
    assert not line.is_silent
    await line.go_on(2, job=True)
    assert not line.is_silent


async def test_a_job_that_died_during_the_outage_is_found_after_it(line: Line) -> None:
    await line.go_on(10, worker=False, job=False)
    line.connection = "c2"
    await line.go_on(RETURN_S + SILENCE_S + 2, job=False)
    assert line.is_silent


async def test_a_way_that_stalls_and_goes_on_has_not_been_open_meanwhile(line: Line) -> None:
    await line.go_on(6, worker=False, job=False)
    await line.go_on(RETURN_S, job=False)
    assert not line.is_silent


async def test_what_is_never_heard_again_is_forgotten(line: Line, redis: Redis) -> None:
    await line.go_on(FORGOTTEN_AFTER_S + 1, worker=False, job=False)
    beats = await read_beats(redis)
    assert (beats.counts, beats.workers, beats.ways) == ({}, {}, {})
