"""One job that Rollcall dispatched, in the job's own process, around the user's entrypoint."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from livekit import rtc
from livekit.agents import Agent, AgentSession, NotGivenOr
from livekit.agents.job import JobContext
from livekit.agents.llm import ChatContext
from livekit.agents.voice.events import CloseReason
from livekit.agents.voice.room_io import RoomOptions, TextOutputOptions
from livekit.protocol.agent import Job

from rollcall_agent.job.captions import Captions
from rollcall_agent.job.diagnose import diagnose
from rollcall_agent.job.ending import Ending
from rollcall_agent.job.listen import SessionListener, guarded
from rollcall_agent.job.parts import JobParts
from rollcall_agent.job.publish import FLUSH_S, NEWS_FLUSH_S, STARTED_FLUSH_S
from rollcall_agent.job.redact import RedactedOutbox
from rollcall_agent.job.resume import as_context, awaits_reply
from rollcall_agent.job.silence import Silence
from rollcall_agent.job.turns import TurnLog
from rollcall_agent.report import JobFacts, Reporter
from rollcall_agent.transport import JobTransport, Publishing
from rollcall_agent.worker.admit import log_fields, read_order
from shared.contracts.causes import Cause
from shared.contracts.dispatching import DispatchOrder, PastTurn
from shared.contracts.events import AgentError, Step
from shared.contracts.keys import ORDER_ATTRIBUTE, SESSION_ATTRIBUTE
from shared.platform.logs.logs import get_logger

_KEY: Final = "rollcall_agent.job"

Entry = Callable[[JobContext], Awaitable[None]]

log = get_logger(__name__)


class RunningJob:
    """One job, from before the user's entrypoint until after the user's `on_session_end`."""

    def __init__(self, ctx: JobContext, parts: JobParts, order: DispatchOrder) -> None:
        self.order = order
        self.ctx = ctx
        facts = JobFacts.of_context(ctx)
        self._settings = parts.settings
        self._way: JobTransport = parts.transport.open_job(
            parts.settings, order, facts, spool_failures=parts.spool_failures
        )
        redact = parts.redact
        self._outbox: Publishing = RedactedOutbox(self._way.outbox, redact) if redact else self._way.outbox
        self.reporter = Reporter(order=order, facts=facts, outbox=self._outbox)
        self.turns = TurnLog(order=order, facts=facts, outbox=self._outbox)
        self.ending = Ending(parts.stopping)
        self._facts = facts
        self.caller_at: Callable[[float], str | None] | None = None
        self._session: AgentSession[Any] | None = None
        ctx.log_context_fields = {
            **ctx.log_context_fields,
            "room": facts.room_name,
            "job_id": facts.job_id,
            **log_fields(order),
        }

    @classmethod
    def open(cls, ctx: JobContext) -> "RunningJob | None":
        """Open the job; None if it isn't Rollcall's, or the process knows nothing of Rollcall."""
        parts, order = JobParts.of(ctx.proc), read_order(ctx.job)
        if parts is None or order is None:
            return None
        job = ctx.proc.userdata[_KEY] = cls(ctx, parts, order)
        return job

    @staticmethod
    def of(ctx: JobContext) -> "RunningJob | None":
        """The job of this context, if it was opened."""
        job: RunningJob | None = ctx.proc.userdata.get(_KEY)
        return job

    async def run(self, entrypoint: Entry) -> None:
        """Run the user's entrypoint, unless the job comes too late. Raises what the entrypoint raises."""
        log.info("job_started", room_sid=self._facts.room_sid, metadata=_clients_metadata(self.ctx.job))
        self.reporter.step(Step.ENTRYPOINT_STARTED)
        # What comes next may hang or die; without this news nobody could tell that the job was started.
        _, late = await asyncio.gather(self._outbox.flush(within_s=STARTED_FLUSH_S), self._is_late())
        if late:
            log.info("job_late")
            self.stop("late")
            return
        self._way.start_beat()
        self._tell_of_connection()
        try:
            await entrypoint(self.ctx)
        except Exception as failure:
            self.reporter.error(diagnose(failure))
            self.ending.because("error")
            raise  # the SDK logs it and ends the job

    async def start_session(
        self,
        session: AgentSession[Any],
        agent: Agent,
        options: dict[str, Any],
        start: Callable[..., Awaitable[Any]],
    ) -> Any:
        """Start a session of the user's. Rollcall tells of one at a time, not of others beside it."""
        # By default whoever is in the room gets the agent's instructions and tools from the session host.
        options.setdefault("session_host", False)
        if self._session is not None:
            return await start(agent, **options)
        self._session = session
        self.ending.undo(CloseReason.USER_INITIATED.value)
        past = await self._take_over()
        if past:
            await agent.update_chat_ctx(_with_past(agent.chat_ctx, past))
        captions = self._captions(options)
        listener = self.begin_listening(session, captions)
        silence = Silence(session, always=self.order.canary) if self.order.canary or past else None
        session.on("close", self._on_close)
        started = await start(agent, **options)
        listener.note_instructions()
        if silence is not None:
            silence.started(reply=awaits_reply(past))
        return started

    def fail(self, code: str, detail: str) -> None:
        """End the job, for a reason that the user's code has found."""
        self.reporter.error(AgentError(type=code, message=detail, cause=Cause.ENTRYPOINT_FAILED))
        self.stop("error")

    def warn(self, code: str, detail: str) -> None:
        """Report an error that the call survives."""
        self.reporter.error(AgentError(type=code, message=detail, recoverable=True))

    def stop(self, reason: str, *, in_order: bool = False) -> None:
        """End the job. in_order: the agent is done, and wants no other in its place."""
        self.ending.because(reason, in_order=in_order)
        self.ctx.shutdown(reason)

    async def aclose(self) -> None:
        """Report the end, and send what is left."""
        reason, turns = self.ending.reason, self.turns.count
        self.reporter.step(Step.CLOSED, reason=reason, turns=turns, in_order=self.ending.in_order)
        log.info("job_closed", reason=reason, turns=turns)
        await self._way.aclose(flush_s=FLUSH_S)

    async def _is_late(self) -> bool:
        fences = self._way.fences
        return await fences.is_late(self.order) or await fences.is_second(self.order, self._facts.job_id)

    async def _take_over(self) -> list[PastTurn]:
        """The turns of the agent before, if there was one; they are not published again."""
        if not self.order.takes_over:
            return []
        past = await self._way.read_past_turns()
        self.turns.take_over(turn.item_id for turn in past)
        log.info("conversation_taken_over", turns=len(past))
        return past

    def _tell_of_connection(self) -> None:
        connect = self.ctx.connect

        async def connect_and_tell(*args: Any, **options: Any) -> None:
            is_first = not self.ctx.room.isconnected()
            started = time.perf_counter()
            await connect(*args, **options)
            if not is_first:
                return
            agent = self.ctx.room.local_participant
            self.reporter.step(Step.CONNECTED, participant_identity=agent.identity, participant_sid=agent.sid)
            await self._outbox.flush(within_s=NEWS_FLUSH_S)
            log.info(
                "room_joined",
                participant_identity=agent.identity,
                participant_sid=agent.sid,
                connect_ms=round((time.perf_counter() - started) * 1000),
            )

        self.ctx.connect = connect_and_tell  # type: ignore[method-assign]
        self.ctx.room.on("disconnected", self._on_disconnected)

    def begin_listening(self, session: AgentSession[Any], captions: Captions | None) -> SessionListener:
        """Listen to what the session does from now on."""
        return SessionListener(
            session,
            reporter=self.reporter,
            turns=self.turns,
            captions=captions,
            ending=self.ending,
            caller_at=lambda moment: self.caller_at(moment) if self.caller_at else _linked(session),
            end_job=self.ctx.shutdown,
            with_instructions=self._settings.transcript_instructions and not self.order.canary,
            # The user's code has closed it, and may have more to do.
            outlives=lambda reason: reason is CloseReason.USER_INITIATED,
        )

    def _captions(self, options: dict[str, Any]) -> Captions | None:
        if self.order.canary or not self._settings.captions_allowed:
            return None
        captions = Captions(order=self.order, show=self._way.show)
        captions.start()
        self.ctx.add_shutdown_callback(captions.aclose)
        if not options.get("room_output_options"):  # deprecated, and the other may not be given with it
            options["room_options"] = _with_captions(options.get("room_options"), captions)
        return captions

    @guarded
    def _on_close(self, *_: object) -> None:
        self._session = None

    @guarded
    def _on_disconnected(self, reason: rtc.DisconnectReason.ValueType) -> None:
        self.ending.because(rtc.DisconnectReason.Name(reason).lower())


def _clients_metadata(job: Job) -> str | None:
    # A dispatcher of an older version puts the order into the metadata, with the agent's instructions.
    is_theirs = ORDER_ATTRIBUTE in job.attributes or SESSION_ATTRIBUTE not in job.attributes
    return job.metadata if is_theirs else None


def _linked(session: AgentSession[Any]) -> str | None:
    """The caller, as the SDK has chosen whom the agent talks with."""
    try:
        linked = session.room_io.linked_participant
    except RuntimeError:  # a session whose audio comes from elsewhere
        return None
    return linked.identity if linked is not None else None


def _with_past(own: ChatContext, past: list[PastTurn]) -> ChatContext:
    """The agent's own first items, then the conversation that it takes over."""
    items = as_context(past).items
    if not items:
        return own
    # The SDK keeps items sorted by their time.
    first = [
        item.model_copy(update={"created_at": min(item.created_at, items[0].created_at)})
        for item in own.items
    ]
    return ChatContext([*first, *items])


def _with_captions(given: NotGivenOr[RoomOptions] | None, captions: Captions) -> RoomOptions:
    """The user's options, with an ear for the agent's words at the end of the SDK's chain of text."""
    options = given if isinstance(given, RoomOptions) else RoomOptions()
    spoken = options.text_output
    if spoken is False:
        return options
    chosen = spoken if isinstance(spoken, TextOutputOptions) else TextOutputOptions()
    if chosen.next_in_chain is not None:  # the user's own ear; the agent's words have no captions then
        return options
    return replace(options, text_output=replace(chosen, next_in_chain=captions.spoken))
