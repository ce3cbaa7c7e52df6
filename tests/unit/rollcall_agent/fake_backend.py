"""A hand-written `Backend`, which keeps what it is told and can be away."""

import asyncio
from collections.abc import Mapping, Sequence

from redis.exceptions import ConnectionError as RedisConnectionError

from shared.contracts.dispatching import PastTurn
from shared.contracts.events import Envelope
from shared.contracts.identifiers import SessionId
from shared.contracts.workers import WorkerHeartbeat, WorkerOrder
from shared.core.transcripts.watermark import StoredTurns


class FakeBackend:
    """Rollcall with these fences. See `Backend`.

    failing: what each call raises. failures: so many calls raise it, and the others don't.
    """

    def __init__(
        self,
        fences: Mapping[str, str] | None = None,
        *,
        failing: Exception | None = None,
        failures: int = 1_000_000,
        frozen: bool = False,
    ) -> None:
        self.fences = dict(fences or {})
        self.published: list[tuple[str, Envelope]] = []
        self.credentials: dict[tuple[SessionId, int], str | None] = {}
        self.owners: dict[tuple[SessionId, int], str] = {}
        self.calls = 0
        self._failing = failing
        self._failures = failures
        self._frozen = frozen

    def attempt(self, session_id: SessionId, attempt: int, credential: str | None) -> "FakeAttempt":
        self.credentials[session_id, attempt] = credential
        return FakeAttempt(self, session_id, attempt)

    async def publish(self, stream: str, envelopes: Sequence[Envelope]) -> None:
        for envelope in envelopes:
            envelope.model_dump_json()  # raises for what can't be written
        await self.answer()
        self.published += [(stream, envelope) for envelope in envelopes]

    async def beat_worker(self, heartbeat: WorkerHeartbeat) -> WorkerOrder | None:
        await self.answer()
        return None

    async def read_order(self, worker_id: str) -> WorkerOrder | None:
        await self.answer()
        return None

    async def remove_worker(self, worker_id: str) -> None:
        await self.answer()

    async def aclose(self) -> None: ...

    async def answer(self) -> None:
        self.calls += 1
        await asyncio.sleep(3600 if self._frozen else 0)
        if self._failing is not None and self.calls <= self._failures:
            raise self._failing


class FakeAttempt:
    """See `AttemptBackend`."""

    def __init__(self, backend: FakeBackend, session_id: SessionId, number: int) -> None:
        self._backend = backend
        self._of = (session_id, number)

    async def show(self, captions: Sequence[Envelope]) -> None:
        await self._backend.answer()

    async def read_fence(self) -> str | None:
        await self._backend.answer()
        return self._backend.fences.get(self._of[0])

    async def take(self, job_id: str) -> bool:
        await self._backend.answer()
        return self._backend.owners.setdefault(self._of, job_id) == job_id

    async def beat(self, job_id: str, count: int) -> None:
        await self._backend.answer()

    async def forget(self) -> None:
        await self._backend.answer()

    async def read_history(self) -> list[PastTurn] | None:
        await self._backend.answer()
        return None

    async def read_stored(self, job_id: str | None) -> StoredTurns:
        await self._backend.answer()
        return StoredTurns(b"")

    async def is_erased(self) -> bool:
        await self._backend.answer()
        return False


def away() -> FakeBackend:
    """A backend that can't be reached."""
    return FakeBackend(failing=RedisConnectionError("connection refused"))
