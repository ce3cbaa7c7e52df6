"""The verifier's parts with one database, one Redis and one fake LiveKit."""

import asyncio
from typing import Any

from redis.asyncio import Redis

from services.verifier.close.close import Closer
from services.verifier.liveness import Liveness
from services.verifier.prove.attempt_deadline import AttemptDeadline
from services.verifier.prove.proofs import Proofs
from services.verifier.prove.verify import Verifier
from services.verifier.repository import Current, Repository
from services.verifier.wake import Waker
from services.verifier.watch.watch import Watch
from shared.contracts.identifiers import SessionId
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.outbox import Relay
from shared.core.sessions.tables import SessionRow
from shared.core.workers.beats import Beat, write_job_beats
from shared.platform.database.database import Database
from tests.integration.rows import get_session, put_session
from tests.unit.fake_rooms import FakeRooms
from tests.unit.making import T0, FakeClock, make_caller


class Bench:
    """A verifier, a watch and a closer; the test moves the clock."""

    def __init__(self, database: Database, redis: Redis, relay: Relay, clock: FakeClock) -> None:
        self.database = database
        self.redis = redis
        self.clock = clock
        self.rooms = FakeRooms()
        self.waker = Waker()
        self.repository = Repository(database, join_budget_s=15, now=clock)
        self.proofs = Proofs(database, now=clock)
        self.liveness = Liveness(redis, silence_s=2.5, clock=lambda: clock().timestamp())
        self.verifier = Verifier(
            repository=self.repository,
            proofs=self.proofs,
            rooms=self.rooms,
            redis=redis,
            relay=relay,
            waker=self.waker,
            attempt_deadline=AttemptDeadline(
                window_s=5.5, own_window_s=3, start_window_s=6, liveness=self.liveness
            ),
            now=clock,
        )
        self.watch = Watch(
            repository=self.repository,
            redis=redis,
            rooms=self.rooms,
            relay=relay,
            proofs=self.proofs,
            liveness=self.liveness,
            interval_s=10,
            max_revivals=2,
            max_attempts=3,
            caller_join_timeout_s=60,
            now=clock,
        )
        self.closer = Closer(repository=self.repository, rooms=self.rooms, redis=redis, now=clock)

    async def put(
        self, status: SessionStatus, *, attempt: dict[str, Any] | None = None, **row: Any
    ) -> SessionRow:
        """A session in its first attempt, and its room with the caller in it."""
        how = {"dispatch_id": "AD_1", "accepted_at": T0, "outcome": "accepted", **(attempt or {})}
        self.rooms.open_room("lobby", make_caller())
        values = {"room_name": "lobby", "room_sid": self.rooms.sids["lobby"], **row}
        made = await put_session(self.database, status=status, attempt={"number": 1, **how}, **values)
        async with self.database.write() as db:
            (await db.get_one(SessionRow, made.id)).attempt = 1
        return await get_session(self.database, made.id)

    async def beat(self, row: SessionRow, count: int = 1, *, attempt: int = 1) -> None:
        """The attempt's job beats, and the beat is read."""
        await write_job_beats(self.redis, [Beat(SessionId(row.id), attempt, "AJ_1", count)])
        await self.liveness.read()

    async def watch_silence(self, *, seconds: float) -> None:
        """Read the beats for so long, as the pulse does."""
        for _ in range(int(seconds / 0.5)):
            self.clock.forward(seconds=0.5)
            await self.liveness.read()

    async def current(self, row: SessionRow) -> Current:
        current = await self.repository.read(row.id)
        assert current is not None
        return current

    async def verify(self, row: SessionRow) -> SessionRow:
        async with asyncio.timeout(20):
            await self.verifier.verify(await self.current(row))
        return await get_session(self.database, row.id)

    async def check(self, row: SessionRow) -> SessionRow:
        await self.watch.check(await self.current(row))
        return await get_session(self.database, row.id)
