"""`Backend` over the API: each call is a request on one WebSocket."""

import asyncio
import base64
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, Literal

from pydantic import TypeAdapter

from rollcall_agent.api.connection import Connection
from rollcall_agent.api.link import Link
from rollcall_agent.ports import ApiUnreachable, CallRefused
from shared.contracts.agent_calls import (
    MAX_ENVELOPES,
    MAX_FRAME_BYTES,
    AnyCall,
    BeatJob,
    BeatWorker,
    ForgetJob,
    IsErased,
    Present,
    Publish,
    ReadFence,
    ReadHistory,
    ReadOrder,
    ReadStored,
    RefusalCode,
    RemoveWorker,
    Show,
    TakeAttempt,
)
from shared.contracts.dispatching import PastTurn
from shared.contracts.events import Envelope
from shared.contracts.identifiers import SessionId
from shared.contracts.keys import REPORTS_STREAM, TURNS_STREAM
from shared.contracts.text import size_of
from shared.contracts.workers import WorkerHeartbeat, WorkerOrder
from shared.core.transcripts.watermark import StoredTurns
from shared.core.workers.orders import as_order
from shared.platform.logs.logs import bound, get_logger
from shared.platform.redis.streams import UNREACHABLE

CALL_S: Final = 5.0
# Far more than a worker's running jobs, and those whose turns are on its disk are told again.
MAX_CREDENTIALS: Final = 10_000
# The API reads 100 frames a second; this many at once leave room for others.
PRESENTED_A_BEAT: Final = 50
# From then on credentials are presented again. The API keeps the newest 10,000 of a connection.
MAX_PRESENTED: Final = 1_000
# What a frame of events holds beside the events.
AROUND_BYTES: Final = 1024
_STREAMS: Final[dict[str, Literal["reports", "turns"]]] = {REPORTS_STREAM: "reports", TURNS_STREAM: "turns"}
_HISTORY: Final = TypeAdapter(list[PastTurn] | None)

Attempt = tuple[SessionId, int]

log = get_logger(__name__)


class ApiBackend:
    """The way over the API; see `Backend`. Each call raises `CallRefused` too.

    presents: the connection is a worker's, which shows the credential of each attempt that it speaks of. A
    job's connection is opened with the credential of its one attempt.
    """

    def __init__(self, link: Link, *, presents: bool) -> None:
        self._link = link
        self._presents = presents
        self._credentials: dict[Attempt, str] = {}  # the newest last
        self._presented: set[Attempt] = set()
        self._presented_on: Connection | None = None
        self._has_told = False

    def attempt(self, session_id: SessionId, attempt: int, credential: str | None) -> "ApiAttempt":
        """See `Backend`. Without a credential, neither now nor before, every call is refused."""
        of = (session_id, attempt)
        credential = credential or self._credentials.get(of)
        if credential is not None:
            self._keep(of, credential)
        elif not self._has_told:
            self._has_told = True
            advice = "update Rollcall's dispatcher; turns that were kept over Redis need a worker over Redis"
            with bound(session_id=session_id, attempt=attempt):
                log.error("credential_missing", advice=advice)
        return ApiAttempt(self, session_id, attempt)

    async def publish(self, stream: str, envelopes: Sequence[Envelope]) -> None:
        """See `Backend`. The events of each attempt stay in order."""
        groups: dict[Attempt, list[Envelope]] = {}
        for envelope in envelopes:
            groups.setdefault((envelope.session_id, envelope.data["attempt"]), []).append(envelope)
        sending = (self._publish(stream, of, group) for of, group in groups.items())
        errors = [error for error in await asyncio.gather(*sending, return_exceptions=True) if error]
        if errors:
            # What can't be reached is asked again with all; the events of a refused attempt go alone then.
            raise next((error for error in errors if isinstance(error, UNREACHABLE)), errors[0])

    async def beat_worker(self, heartbeat: WorkerHeartbeat) -> WorkerOrder | None:
        """See `Backend`. The API believes of its sessions those whose credentials it was shown."""
        running = set(heartbeat.sessions)
        known = [of for of in self._credentials if of[0] in running]
        for of in known:
            self._keep(of, self._credentials[of])
        return as_order(await self.ask(BeatWorker(heartbeat=heartbeat), of=known))

    async def read_order(self, worker_id: str) -> WorkerOrder | None:
        """See `Backend`."""
        return as_order(await self.ask(ReadOrder(worker_id=worker_id)))

    async def remove_worker(self, worker_id: str) -> None:
        """See `Backend`."""
        await self.ask(RemoveWorker(worker_id=worker_id))

    async def aclose(self) -> None:
        """See `Backend`."""
        await self._link.aclose()

    async def ask(self, call: AnyCall, *, of: Sequence[Attempt] = ()) -> Any:
        """Return the result of a call about these attempts. See the class for what it raises."""
        for attempt in of:
            if attempt not in self._credentials:
                raise CallRefused(RefusalCode.NOT_YOURS, "the attempt's credential is not known")
        connection: Connection | None = None
        try:
            async with asyncio.timeout(CALL_S):
                connection = await self._link.connection()
                self._present(of, connection)
                return await connection.ask(call)
        except TimeoutError:
            why = f"no answer for {CALL_S:g} s"
            if connection is not None:
                connection.drop(why)
            raise ApiUnreachable(why) from None

    async def _publish(self, stream: str, of: Attempt, envelopes: Sequence[Envelope]) -> None:
        for frame in in_frames(envelopes):
            call = Publish(session_id=of[0], attempt=of[1], stream=_STREAMS[stream], envelopes=frame)
            await self.ask(call, of=[of])

    def _keep(self, of: Attempt, credential: str) -> None:
        self._credentials.pop(of, None)
        self._credentials[of] = credential
        if len(self._credentials) > MAX_CREDENTIALS:
            del self._credentials[next(iter(self._credentials))]

    def _present(self, of: Sequence[Attempt], connection: Connection) -> None:
        """Show credentials that this connection has not shown. The API answers in order: nobody waits."""
        if not self._presents:
            return
        if connection is not self._presented_on or len(self._presented) >= MAX_PRESENTED:
            self._presented_on, self._presented = connection, set()
        presented = self._presented
        new = (attempt for attempt in of if attempt not in presented)
        for attempt in list(islice(new, PRESENTED_A_BEAT)):
            presented.add(attempt)
            answer = connection.ask(Present(credential=self._credentials[attempt]))
            answer.add_done_callback(partial(_again_if_refused, presented, attempt))


class ApiAttempt:
    """See `AttemptBackend`."""

    def __init__(self, backend: ApiBackend, session_id: SessionId, number: int) -> None:
        self._backend = backend
        self._of: Attempt = (session_id, number)
        self._about: dict[str, Any] = {"session_id": session_id, "attempt": number}

    async def show(self, captions: Sequence[Envelope]) -> None:
        """See `AttemptBackend`."""
        for frame in in_frames(captions):
            await self._ask(Show(**self._about, captions=frame))

    async def read_fence(self) -> str | None:
        """See `AttemptBackend`."""
        fence = await self._ask(ReadFence(**self._about))
        return None if fence is None else str(fence)

    async def take(self, job_id: str) -> bool:
        """See `AttemptBackend`."""
        return bool(await self._ask(TakeAttempt(**self._about, job_id=job_id)))

    async def beat(self, job_id: str, count: int) -> None:
        """See `AttemptBackend`."""
        await self._ask(BeatJob(**self._about, job_id=job_id, count=count))

    async def forget(self) -> None:
        """See `AttemptBackend`."""
        await self._ask(ForgetJob(**self._about))

    async def read_history(self) -> list[PastTurn] | None:
        """See `AttemptBackend`."""
        return _HISTORY.validate_python(await self._ask(ReadHistory(**self._about)))

    async def read_stored(self, job_id: str | None) -> StoredTurns:
        """See `AttemptBackend`."""
        bitmap = await self._ask(ReadStored(**self._about, job_id=job_id))
        return StoredTurns(base64.b64decode(bitmap))

    async def is_erased(self) -> bool:
        """See `AttemptBackend`."""
        return bool(await self._ask(IsErased(**self._about)))

    async def _ask(self, call: AnyCall) -> Any:
        return await self._backend.ask(call, of=[self._of])


def in_frames(envelopes: Iterable[Envelope]) -> Iterator[list[Envelope]]:
    """Split events, in order, by what a frame may hold. An event that is too long has a frame of its own."""
    frame: list[Envelope] = []
    size = AROUND_BYTES
    for envelope in envelopes:
        length = size_of(envelope.model_dump_json()) + 1
        if frame and (len(frame) == MAX_ENVELOPES or size + length > MAX_FRAME_BYTES):
            yield frame
            frame, size = [], AROUND_BYTES
        frame.append(envelope)
        size += length
    if frame:
        yield frame


def _again_if_refused(presented: set[Attempt], attempt: Attempt, answer: "asyncio.Future[Any]") -> None:
    if answer.cancelled() or answer.exception() is not None:
        presented.discard(attempt)
