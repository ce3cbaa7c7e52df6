"""Do what a worker or a job asks, if it may.

Every call about an attempt needs the attempt's credential, shown before on the same socket. The events in it
are checked against that attempt, one by one. What is left to do is `shared.core.workers.backend`'s.
"""

import base64
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from redis.asyncio import Redis

from services.api.agent_sockets.beats import BeatWriter
from services.api.agent_sockets.caller import Attempt, Caller
from services.api.agent_sockets.owners import is_owner
from shared.contracts.agent_calls import (
    AnyCall,
    BeatJob,
    BeatWorker,
    CallRefusal,
    ForgetJob,
    IsErased,
    OfAttempt,
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
from shared.contracts.events import (
    AgentReported,
    CaptionChanged,
    Envelope,
    Severity,
    TurnFinished,
)
from shared.contracts.keys import AGENT_SOURCE, REPORTS_STREAM, TURNS_STREAM
from shared.contracts.text import MAX_EVENT_BYTES, size_of
from shared.core.workers.backend import RedisAttempt, RedisBackend
from shared.core.workers.beats import Beat, forget_way, note_way
from shared.core.workers.credentials import CredentialRefused, KeyPair
from shared.core.workers.fence import is_behind
from shared.platform.redis.streams import UNREACHABLE

_Kind = type[AgentReported] | type[TurnFinished] | type[CaptionChanged]
_STREAMS: Final[dict[str, tuple[str, _Kind]]] = {
    "reports": (REPORTS_STREAM, AgentReported),
    "turns": (TURNS_STREAM, TurnFinished),
}
_TURNS: Final = TypeAdapter(list[PastTurn])


class CallRefused(Exception):
    """The call is not done; `refusal` says why."""

    def __init__(self, code: RefusalCode, detail: str) -> None:
        super().__init__(detail)
        self.refusal = CallRefusal(code=code, detail=detail)


class Calls:
    """The calls of one socket."""

    def __init__(self, caller: Caller, *, redis: Redis, beats: BeatWriter, key_pair: KeyPair) -> None:
        self._caller = caller
        self._redis = redis
        self._backend = RedisBackend(redis)
        self._key_pair = key_pair
        self._beats = beats
        self._worker_beats = 0
        self._ways: set[str] = set()

    async def do(self, call: AnyCall) -> Any:
        """Return the result, as JSON. Raises `CallRefused`, or one of `UNREACHABLE`."""
        if isinstance(call, OfAttempt):
            return await self._of_attempt(call, (call.session_id, call.attempt))
        if not self._caller.is_worker:
            raise _not_yours("a job may not ask this: it is a worker's call")
        match call:
            case Present():
                return self._present(call.credential)
            case BeatWorker():
                return await self._beat_worker(call)
            case ReadOrder():
                await self._own(call.worker_id)
                return await self._backend.read_order(call.worker_id)
            case RemoveWorker():
                await self._own(call.worker_id)
                return await self._backend.remove_worker(call.worker_id)

    async def aclose(self) -> None:
        """Tell the verifier that this way is closed: from now on, silence says nothing."""
        with suppress(*UNREACHABLE):  # then the verifier hears no more beats, which says as much
            for worker_id in self._ways:
                await forget_way(self._redis, worker_id)

    async def _of_attempt(self, call: OfAttempt, of: Attempt) -> Any:
        if of not in self._caller.attempts:
            raise _not_yours("show the credential of this attempt first")
        attempt = self._backend.attempt(*of)
        result: Any = None
        match call:
            case Publish():
                stream, kind = _STREAMS[call.stream]
                await self._backend.publish(stream, await self._checked(call.envelopes, of, kind))
            case Show():
                await attempt.show(await self._checked(call.captions, of, CaptionChanged))
            case ReadFence():
                result = await attempt.read_fence()
            case TakeAttempt():
                result = await attempt.take(call.job_id)
            case BeatJob():
                await self._beats.write(Beat(*of, call.job_id, call.count, self._caller.worker_id))
            case ForgetJob():
                await attempt.forget()
            case ReadHistory():
                await _still_current(attempt)
                turns = await attempt.read_history()
                result = None if turns is None else _TURNS.dump_python(turns, mode="json")
            case ReadStored():
                result = base64.b64encode((await attempt.read_stored(call.job_id)).bitmap).decode()
            case IsErased():
                result = await attempt.is_erased()
        return result

    def _present(self, credential: str) -> None:
        try:
            self._caller.present(self._key_pair.read_attempt(credential))
        except CredentialRefused as refused:
            raise _not_yours(str(refused)) from None

    async def _beat_worker(self, call: BeatWorker) -> Any:
        heartbeat = call.heartbeat
        await self._own(heartbeat.worker_id)
        presented = {session_id for session_id, _ in self._caller.attempts}
        sessions = [session_id for session_id in heartbeat.sessions if session_id in presented]
        order = await self._backend.beat_worker(
            heartbeat.model_copy(update={"sessions": sessions, "circuit": None})
        )
        self._worker_beats += 1
        self._ways.add(heartbeat.worker_id)
        for worker_id in self._ways:
            # Under former ids too: the jobs that began under them name them as their worker.
            await note_way(
                self._redis,
                worker_id,
                connection=self._caller.connection,
                count=self._worker_beats,
            )
        return order

    async def _own(self, worker_id: str) -> None:
        if not await is_owner(self._redis, worker_id, self._caller.owner):
            raise _not_yours(f"worker {worker_id} is another's")

    async def _checked(self, envelopes: Sequence[Envelope], of: Attempt, kind: _Kind) -> list[Envelope]:
        """The envelopes, as an agent of this attempt sends them. Raises `CallRefused`."""
        checked = []
        reporting: set[str] = set()
        for envelope in envelopes:
            try:
                event = envelope.event()
                is_its = envelope.session_id == of[0]
            except (ValueError, ValidationError):
                raise CallRefused(RefusalCode.MALFORMED, "an event can't be read") from None
            if not isinstance(event, kind):
                raise _not_yours(f"an event of the type {envelope.type} doesn't belong here")
            if not is_its or (event.session_id, event.attempt) != of:
                raise _not_yours("an event is of another attempt than the call")
            if size_of(envelope.model_dump_json()) > MAX_EVENT_BYTES:
                raise CallRefused(RefusalCode.MALFORMED, f"an event has more than {MAX_EVENT_BYTES} bytes")
            if self._caller.is_worker and isinstance(event, AgentReported):
                reporting.add(event.worker_id)
            plain = {"source": AGENT_SOURCE, "severity": Severity.INFO, "sequence": None}
            checked.append(envelope.model_copy(update=plain))
        for worker_id in reporting:
            await self._own(worker_id)
        return checked


async def _still_current(attempt: RedisAttempt) -> None:
    """Raises `CallRefused` for an attempt that was replaced, and for a session that is over."""
    if is_behind(await attempt.read_fence(), attempt.number):
        raise CallRefused(RefusalCode.OVER, "another attempt has replaced this one, or its session is over")


def _not_yours(detail: str) -> CallRefused:
    return CallRefused(RefusalCode.NOT_YOURS, detail)
