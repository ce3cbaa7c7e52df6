"""Hold one conversation: start the agent session, listen to its events, greet, and end with the caller."""

import asyncio
import functools
from collections.abc import Callable
from typing import ParamSpec

from livekit import rtc
from livekit.agents import NOT_GIVEN, Agent, AgentSession, NotGivenOr
from livekit.agents.job import JobContext
from livekit.agents.llm import AgentConfigUpdate, AgentHandoff, ChatMessage
from livekit.agents.voice.events import (
    AgentStateChangedEvent,
    CloseEvent,
    CloseReason,
    ConversationItemAddedEvent,
    ErrorEvent,
    FunctionToolsExecutedEvent,
    UserInputTranscribedEvent,
)
from livekit.agents.voice.room_io import RoomOptions, TextOutputOptions
from redis.asyncio import Redis

from services.agent.job.captions import Captions
from services.agent.job.chat import Chat
from services.agent.job.diagnose import diagnose_event
from services.agent.job.linked_participant import KINDS, LinkedParticipant
from services.agent.job.models import build_session, choose
from services.agent.job.resume import as_context, awaits_reply, read_past_turns
from services.agent.job.turns import TurnLog
from services.agent.report import Reporter
from services.agent.settings import AgentSettings
from services.agent.worker.shutdown import WorkerStop
from shared.contracts.dispatching import DispatchOrder, PastTurn
from shared.contracts.events import Step
from shared.contracts.models import Models
from shared.contracts.sessions import Mode
from shared.platform.logs.logs import get_logger

CLOSE_GRACE_S = 5.0
WORKER_STOPPED = "worker_stopped"

log = get_logger(__name__)
P = ParamSpec("P")


def _guarded(handler: Callable[P, None]) -> Callable[P, None]:
    # An exception of a handler would reach the SDK's own tasks, and end the call.
    @functools.wraps(handler)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            handler(*args, **kwargs)
        except Exception:
            log.exception("event_handler_failed", handler=handler.__name__)

    return guarded


class Conversation:
    """One agent with one caller in one room."""

    def __init__(
        self,
        *,
        ctx: JobContext,
        settings: AgentSettings,
        order: DispatchOrder | None,
        redis: Redis,
        reporter: Reporter,
        turns: TurnLog,
        stopping: WorkerStop,
    ) -> None:
        self._ctx = ctx
        self._settings = settings
        self._order = order
        self._redis = redis
        self._reporter = reporter
        self._turns = turns
        self._stopping = stopping
        self._mode = order.mode if order else Mode.PIPELINE
        self._language: str | None = None
        self._end: str | None = None
        shown = order is not None and not order.canary and settings.captions_allowed
        self._captions = Captions(order=order, redis=redis) if order is not None and shown else None
        self._chat = Chat(ctx.room)
        self._partner = LinkedParticipant(ctx.room, order, on_last_left=self._on_last_left)

    @property
    def end(self) -> str:
        """Why the conversation ended: the first reason that was noted."""
        return self._end or (WORKER_STOPPED if self._stopping.announced else "shutdown")

    def ended(self, reason: str) -> None:
        """Note why the conversation ends. Only the first reason counts, since others follow from it."""
        self._end = self._end or reason

    def open(self) -> None:
        """Start keeping texts to the agent; `start` answers them."""
        self._chat.open()
        self._ctx.add_shutdown_callback(self._chat.aclose)

    async def start(self) -> None:
        """Start listening, and greet or continue the conversation. Returns while the conversation goes on.

        Raises `ModelRefused`, and the SDK's exceptions if a session can't start.
        """
        models = choose(self._order.models if self._order else Models(), self._settings.default_models)
        session = build_session(models, mode=self._mode, settings=self._settings)
        self._listen(session)
        self._ctx.room.on("disconnected", self._on_disconnected)
        instructions = (
            self._order.instructions if self._order else None
        ) or self._settings.agent_instructions
        past = await self._past_turns()
        agent = Agent(instructions=instructions, chat_ctx=as_context(past))
        # The SDK's session host, on by default, shows the instructions, the tools and their results to
        # everyone in the room, and lets them speak to the agent instead of the caller.
        await session.start(agent, room=self._ctx.room, room_options=self._room_options(), session_host=False)
        self._note_instructions()
        log.info("session_started", mode=self._mode.value, **models.model_dump(exclude_none=True))
        self._partner.follow(session)
        self._begin(session, past)
        self._chat.start(session, is_partner=self._partner.writes)

    def _room_options(self) -> RoomOptions:
        spoken: NotGivenOr[TextOutputOptions] = NOT_GIVEN
        if self._captions is not None:
            self._captions.start()
            self._ctx.add_shutdown_callback(self._captions.aclose)
            spoken = TextOutputOptions(next_in_chain=self._captions.spoken)
        return RoomOptions(
            text_input=False,  # `chat.py` receives texts instead
            text_output=spoken,
            participant_identity=self._partner.expected,  # `linked_participant.py` chooses anyone else
            participant_kinds=KINDS,
            close_on_disconnect=False,
        )

    async def _past_turns(self) -> list[PastTurn]:
        if self._order is None or not self._order.takes_over:
            return []
        past = await read_past_turns(self._order, redis=self._redis)
        self._turns.take_over(turn.item_id for turn in past)
        log.info("conversation_taken_over", turns=len(past))
        return past

    def _begin(self, session: AgentSession[None], past: list[PastTurn]) -> None:
        """Speak first, if it is the agent's turn."""
        if self._order is not None and self._order.canary:
            return  # nobody listens
        if self._order is not None and self._order.takes_over:
            if awaits_reply(past):
                session.generate_reply()
            return
        greeting = self._settings.agent_greeting
        if self._mode is Mode.REALTIME:
            session.generate_reply(instructions=f"Open the conversation by saying: {greeting}")
        else:
            session.say(greeting)

    def _listen(self, session: AgentSession[None]) -> None:
        self._session = session
        session.on("agent_state_changed", self._on_agent_state)
        session.on("user_input_transcribed", self._on_transcribed)
        session.on("conversation_item_added", self._on_item)
        session.on("function_tools_executed", self._on_tools)
        session.on("error", self._on_error)
        session.on("close", self._on_close)

    @_guarded
    def _on_agent_state(self, event: AgentStateChangedEvent) -> None:
        if event.new_state != "initializing":
            self._reporter.once(Step.READY)
        if event.new_state == "speaking":
            self._reporter.once(Step.FIRST_SPEECH)

    @_guarded
    def _on_transcribed(self, event: UserInputTranscribedEvent) -> None:
        if event.is_final and event.language:
            self._language = str(event.language)
        if self._captions is not None:
            self._captions.heard(event, caller=self._partner.at(event.created_at))

    @_guarded
    def _on_item(self, event: ConversationItemAddedEvent) -> None:
        self._note_instructions()
        if isinstance(event.item, ChatMessage):
            began = event.item.metrics.get("started_speaking_at", event.item.created_at)
            self._turns.message(event.item, caller=self._partner.at(began), language=self._language)
        elif isinstance(event.item, AgentHandoff):
            self._turns.handoff(event.item)

    @_guarded
    def _on_tools(self, event: FunctionToolsExecutedEvent) -> None:
        for call, output in event.zipped():
            self._turns.tool(call, output)

    @_guarded
    def _on_error(self, event: ErrorEvent) -> None:
        error = diagnose_event(event)
        log.warning(
            "session_error",
            error_type=error.type,
            error=error.message,
            cause=error.cause,
            descriptor=error.descriptor,
            recoverable=error.recoverable,
        )
        self._reporter.error(error)
        if getattr(event.error, "type", None) == "realtime_model_error" and not error.recoverable:
            # The SDK closes the session now. If that fails, it never reports the end.
            self.ended("error")
            asyncio.get_running_loop().call_later(CLOSE_GRACE_S, self._ctx.shutdown, "error")

    @_guarded
    def _on_close(self, event: CloseEvent) -> None:
        # Our code never closes the session: the SDK reports "user" when its job is ended from outside.
        by_the_job = event.reason in (CloseReason.USER_INITIATED, CloseReason.JOB_SHUTDOWN)
        stopped = by_the_job and self._stopping.announced
        self.ended(WORKER_STOPPED if stopped else event.reason.value)
        # Otherwise the job would stay in the room until LiveKit closes it, 20 s after the caller left.
        self._ctx.shutdown(self.end)

    @_guarded
    def _on_last_left(self) -> None:
        self.ended(CloseReason.PARTICIPANT_DISCONNECTED.value)
        self._session.shutdown(drain=False)  # this ends the job; see `_on_close`

    @_guarded
    def _on_disconnected(self, reason: rtc.DisconnectReason.ValueType) -> None:
        self.ended(rtc.DisconnectReason.Name(reason).lower())

    def _note_instructions(self) -> None:
        # The SDK sends no event for a change of instructions or tools: it only writes it into the history.
        if not self._settings.transcript_instructions or (self._order is not None and self._order.canary):
            return
        for item in self._session.history.items:
            if isinstance(item, AgentConfigUpdate):
                self._turns.instructions(item)
