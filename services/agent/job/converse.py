"""Hold one conversation: start the agent session, listen to its events, greet, and end with the caller."""

from livekit import rtc
from livekit.agents import NOT_GIVEN, Agent, AgentSession, NotGivenOr
from livekit.agents.job import JobContext
from livekit.agents.voice.events import CloseReason
from livekit.agents.voice.room_io import RoomOptions, TextOutputOptions
from redis.asyncio import Redis

from services.agent.job.captions import Captions
from services.agent.job.chat import Chat
from services.agent.job.ending import Ending
from services.agent.job.linked_participant import KINDS, LinkedParticipant
from services.agent.job.listen import SessionListener, guarded
from services.agent.job.models import build_session, choose
from services.agent.job.resume import as_context, awaits_reply, take_over
from services.agent.job.turns import TurnLog
from services.agent.report import Reporter
from services.agent.settings import AgentSettings
from services.agent.worker.shutdown import WorkerStop
from shared.contracts.dispatching import DispatchOrder, PastTurn
from shared.contracts.models import Models
from shared.contracts.sessions import Mode
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)


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
        self._mode = order.mode if order else Mode.PIPELINE
        self._ending = Ending(stopping)
        shown = order is not None and not order.canary and settings.captions_allowed
        self._captions = Captions(order=order, redis=redis) if order is not None and shown else None
        self._chat = Chat(ctx.room)
        self._partner = LinkedParticipant(ctx.room, order, on_last_left=self._on_last_left)

    @property
    def end(self) -> str:
        """Why the conversation ended: the first reason that was noted."""
        return self._ending.reason

    def ended(self, reason: str) -> None:
        """Note why the conversation ends. Only the first reason counts, since others follow from it."""
        self._ending.because(reason)

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
        past = await take_over(self._order, redis=self._redis, turns=self._turns) if self._order else []
        agent = Agent(instructions=instructions, chat_ctx=as_context(past))
        # The SDK's session host, on by default, shows the instructions, the tools and their results to
        # everyone in the room, and lets them speak to the agent instead of the caller.
        await session.start(agent, room=self._ctx.room, room_options=self._room_options(), session_host=False)
        self._listener.note_instructions()
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
        is_canary = self._order is not None and self._order.canary
        self._session = session
        self._listener = SessionListener(
            session,
            reporter=self._reporter,
            turns=self._turns,
            captions=self._captions,
            ending=self._ending,
            caller_at=self._partner.at,
            end_job=self._ctx.shutdown,
            with_instructions=self._settings.transcript_instructions and not is_canary,
        )

    @guarded
    def _on_last_left(self) -> None:
        self.ended(CloseReason.PARTICIPANT_DISCONNECTED.value)
        self._session.shutdown(drain=False)  # this ends the job; see `_on_close`

    @guarded
    def _on_disconnected(self, reason: rtc.DisconnectReason.ValueType) -> None:
        self.ended(rtc.DisconnectReason.Name(reason).lower())
