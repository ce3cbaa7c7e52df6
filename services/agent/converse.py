"""Hold one conversation: join the room, start the agent session, greet, and end with the caller."""

from typing import Final

from livekit.agents import Agent, AgentSession
from livekit.agents.job import JobContext
from livekit.agents.voice.events import CloseEvent, CloseReason
from livekit.agents.voice.room_io import RoomOptions

from rollcall_agent import current
from rollcall_agent.job.listen import guarded
from services.agent.chat import Chat
from services.agent.linked_participant import KINDS, LinkedParticipant
from services.agent.models import build_session, choose
from services.agent.settings import AgentSettings
from shared.contracts.models import Models
from shared.contracts.sessions import Mode
from shared.platform.logs.logs import get_logger

SETTINGS: Final = "settings"

log = get_logger(__name__)


async def converse(ctx: JobContext) -> None:
    """Join the room and talk. LiveKit's SDK calls this as the job's entry point."""
    conversation = Conversation(ctx, ctx.proc.userdata[SETTINGS])
    conversation.open()
    await ctx.connect()
    await conversation.start()


class Conversation:
    """One agent with one caller in one room. `Rollcall` reports it; see `rollcall_agent`."""

    def __init__(self, ctx: JobContext, settings: AgentSettings) -> None:
        self._ctx = ctx
        self._settings = settings
        self._job = current()  # None if somebody else has dispatched the job
        self._order = self._job.order if self._job else None
        self._mode = self._order.mode if self._order else Mode.PIPELINE
        self._chat = Chat(ctx.room)
        self._partner = LinkedParticipant(ctx.room, self._order, on_last_left=self._on_last_left)

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
        session.on("close", self._on_close)
        if self._job is not None:
            self._job.name_callers(self._partner.at)
        instructions = (self._job and self._job.instructions) or self._settings.agent_instructions
        room_options = RoomOptions(
            text_input=False,  # `chat.py` receives texts instead
            participant_identity=self._partner.expected,  # `linked_participant.py` chooses anyone else
            participant_kinds=KINDS,
            close_on_disconnect=False,
        )
        # The SDK's session host, on by default, shows the instructions, the tools and their results to
        # everyone in the room, and lets them speak to the agent instead of the caller.
        await session.start(
            Agent(instructions=instructions),
            room=self._ctx.room,
            room_options=room_options,
            session_host=False,
        )
        log.info("session_started", mode=self._mode.value, **models.model_dump(exclude_none=True))
        self._partner.follow(session)
        self._greet(session)
        self._chat.start(session, is_partner=self._partner.writes)

    def _greet(self, session: AgentSession[None]) -> None:
        if self._job is not None and (self._job.is_canary or self._job.takes_over):
            return  # nobody listens; or the caller was greeted by the agent before
        greeting = self._settings.agent_greeting
        if self._mode is Mode.REALTIME:
            session.generate_reply(instructions=f"Open the conversation by saying: {greeting}")
        else:
            session.say(greeting)

    def _end(self, reason: str) -> None:
        if self._job is not None:
            self._job.end(reason)
        else:
            self._ctx.shutdown(reason)

    @guarded
    def _on_last_left(self) -> None:
        self._end(CloseReason.PARTICIPANT_DISCONNECTED.value)

    @guarded
    def _on_close(self, event: CloseEvent) -> None:
        # Otherwise the job would stay in the room until LiveKit closes it, 20 s after the caller left.
        self._ctx.shutdown(event.reason.value)
