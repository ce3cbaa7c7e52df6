"""Tell what happens in one agent session: its steps, errors, turns and captions, and why it ends."""

import asyncio
import functools
from collections.abc import Callable
from typing import Any, Final, ParamSpec

from livekit.agents import AgentSession
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

from rollcall_agent.job.captions import Captions
from rollcall_agent.job.diagnose import diagnose_event
from rollcall_agent.job.ending import Ending
from rollcall_agent.job.turns import TurnLog
from rollcall_agent.report import Reporter
from shared.contracts.events import Step
from shared.platform.logs.logs import get_logger

CLOSE_GRACE_S: Final = 5.0

log = get_logger(__name__)
P = ParamSpec("P")


def guarded(handler: Callable[P, None]) -> Callable[P, None]:
    """Log what a handler of the SDK's events raises: it would end the SDK's tasks, and the call."""

    @functools.wraps(handler)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            handler(*args, **kwargs)
        except Exception:
            log.exception("event_handler_failed", handler=handler.__name__)

    return run


class SessionListener:
    """Listens to an agent session from before its start.

    caller_at: who was the caller at a time (Unix seconds). end_job: ends the job, with the reason.
    with_instructions: the agent's instructions are turns too. outlives: whether the job goes on when its
    session closes for this reason.
    """

    def __init__(
        self,
        session: AgentSession[Any],
        *,
        reporter: Reporter,
        turns: TurnLog,
        captions: Captions | None,
        ending: Ending,
        caller_at: Callable[[float], str | None],
        end_job: Callable[[str], None],
        with_instructions: bool,
        outlives: Callable[[CloseReason], bool] = lambda _: False,
    ) -> None:
        self._session = session
        self._reporter = reporter
        self._turns = turns
        self._captions = captions
        self._ending = ending
        self._caller_at = caller_at
        self._end_job = end_job
        self._with_instructions = with_instructions
        self._outlives = outlives
        self._language: str | None = None
        session.on("agent_state_changed", self._on_agent_state)
        session.on("user_input_transcribed", self._on_transcribed)
        session.on("conversation_item_added", self._on_item)
        session.on("function_tools_executed", self._on_tools)
        session.on("error", self._on_error)
        session.on("close", self._on_close)

    def note_instructions(self) -> None:
        """Publish what the agent is told to be, where that is a turn and not published yet.

        The SDK sends no event for a change of instructions or tools: it only writes it into the history.
        """
        if not self._with_instructions:
            return
        for item in self._session.history.items:
            if isinstance(item, AgentConfigUpdate):
                self._turns.instructions(item)

    @guarded
    def _on_agent_state(self, event: AgentStateChangedEvent) -> None:
        if event.new_state != "initializing":
            self._reporter.once(Step.READY)
        if event.new_state == "speaking":
            self._reporter.once(Step.FIRST_SPEECH)

    @guarded
    def _on_transcribed(self, event: UserInputTranscribedEvent) -> None:
        if event.is_final and event.language:
            self._language = str(event.language)
        if self._captions is not None:
            self._captions.heard(event, caller=self._caller_at(event.created_at))

    @guarded
    def _on_item(self, event: ConversationItemAddedEvent) -> None:
        self.note_instructions()
        if isinstance(event.item, ChatMessage):
            began = event.item.metrics.get("started_speaking_at", event.item.created_at)
            self._turns.message(event.item, caller=self._caller_at(began), language=self._language)
        elif isinstance(event.item, AgentHandoff):
            self._turns.handoff(event.item)

    @guarded
    def _on_tools(self, event: FunctionToolsExecutedEvent) -> None:
        for call, output in event.zipped():
            self._turns.tool(call, output)

    @guarded
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
            self._ending.because("error")
            asyncio.get_running_loop().call_later(CLOSE_GRACE_S, self._end_job, "error")

    @guarded
    def _on_close(self, event: CloseEvent) -> None:
        # The SDK reports "user" also when the job is ended from outside.
        by_the_job = event.reason in (CloseReason.USER_INITIATED, CloseReason.JOB_SHUTDOWN)
        self._ending.because(event.reason.value, by_the_job=by_the_job)
        if not self._outlives(event.reason):
            # Otherwise the job would stay in the room until LiveKit closes it, 20 s after the caller left.
            self._end_job(self._ending.reason)
