"""Hold one conversation: join the room, start the agent session, greet, and end with the caller."""

import asyncio
from typing import Final

from livekit.agents import Agent, AgentSession
from livekit.agents.job import JobContext
from livekit.agents.llm import Tool, Toolset
from livekit.agents.voice.events import CloseEvent, CloseReason, UserStateChangedEvent
from livekit.agents.voice.room_io import RoomOptions

from rollcall_agent import current
from rollcall_agent.job.listen import guarded
from services.agent.chat import Chat
from services.agent.linked_participant import KINDS, LinkedParticipant
from services.agent.models import build_session, choose
from services.agent.profile import Secrets, address_of, fill_in, with_profile
from services.agent.settings import AgentSettings
from services.agent.tools import hang_up_tool, http_tool
from shared.contracts.models import Models
from shared.contracts.profiles import HANG_UP, McpServer, Profile
from shared.contracts.sessions import Mode
from shared.platform.logs.logs import get_logger

SETTINGS: Final = "settings"
PROFILE: Final = "profile"
TOO_LONG: Final = "too_long"
TOO_QUIET: Final = "too_quiet"
NO_TOOLS: Final = "mcp_server_failed"

log = get_logger(__name__)


async def converse(ctx: JobContext) -> None:
    """Join the room and talk. LiveKit's SDK calls this as the job's entry point."""
    conversation = Conversation(ctx, ctx.proc.userdata[SETTINGS], ctx.proc.userdata[PROFILE])
    conversation.open()
    await ctx.connect()
    await conversation.start()


class Conversation:
    """One agent with one caller in one room. `Rollcall` reports it; see `rollcall_agent`."""

    def __init__(self, ctx: JobContext, settings: AgentSettings, profile: Profile) -> None:
        self._ctx = ctx
        self._job = current()  # None if somebody else has dispatched the job
        self._order = self._job.order if self._job else None
        stored = self._order.profile if self._order else None
        self._profile = profile if stored is None else stored
        self._settings = with_profile(settings, self._profile)
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
        limits = self._profile.limits
        session = build_session(models, mode=self._mode, settings=self._settings, silence_s=limits.silence_s)
        session.on("close", self._on_close)
        self._limit(session)
        if self._job is not None:
            self._job.name_callers(self._partner.at)
        room_options = RoomOptions(
            text_input=False,  # `chat.py` receives texts instead
            participant_identity=self._partner.expected,  # `linked_participant.py` chooses anyone else
            participant_kinds=KINDS,
            close_on_disconnect=False,
        )
        # The SDK's session host, on by default, shows the instructions, the tools and their results to
        # everyone in the room, and lets them speak to the agent instead of the caller.
        await session.start(
            self._agent(),
            room=self._ctx.room,
            room_options=room_options,
            session_host=False,
        )
        log.info("session_started", mode=self._mode.value, **models.model_dump(exclude_none=True))
        self._partner.follow(session)
        self._greet(session)
        self._chat.start(session, is_partner=self._partner.writes)

    def _limit(self, session: AgentSession[None]) -> None:
        """Have the job end when the profile's limits are reached."""
        limits = self._profile.limits
        if limits.silence_s is not None:
            session.on("user_state_changed", self._on_user_state)
        if limits.duration_s is not None:
            asyncio.get_running_loop().call_later(limits.duration_s, self._end, TOO_LONG)

    def _agent(self) -> Agent:
        own = self._job.instructions if self._job is not None else None
        return Agent(instructions=own or self._filled(self._settings.agent_instructions), tools=self._tools())

    def _tools(self) -> list[Tool | Toolset]:
        profile, secrets = self._profile, Secrets.of_process()
        names = {HANG_UP, *(tool.name for tool in profile.http_tools)}
        tools: list[Tool | Toolset] = [http_tool(tool, secrets) for tool in profile.http_tools]
        if profile.hang_up:
            tools.append(hang_up_tool(self._end))
        tools += self._mcp_tools(names)
        return tools

    def _mcp_tools(self, names: set[str]) -> list[Toolset]:
        if not self._profile.mcp_servers:
            return []
        # Imported late: the worker's main process, and most jobs, need no MCP.
        from services.agent.mcp_tools import ProfileToolset

        secrets, told = Secrets.of_process(), self._on_no_tools
        return [
            ProfileToolset(server, secrets, number=number, names=names, on_failure=told)
            for number, server in enumerate(self._profile.mcp_servers, 1)
        ]

    def _filled(self, text: str) -> str:
        """Fill in the profile's variables."""
        return fill_in(text, self._job.metadata if self._job is not None else None)

    def _greet(self, session: AgentSession[None]) -> None:
        if self._job is not None and (self._job.is_canary or self._job.takes_over):
            return  # nobody listens; or the caller was greeted by the agent before
        greeting = self._filled(self._settings.agent_greeting)
        if self._mode is Mode.REALTIME:
            session.generate_reply(instructions=f"Open the conversation by saying: {greeting}")
        else:
            session.say(greeting)

    def _on_no_tools(self, server: McpServer, why: str) -> None:
        """An MCP server can't be used, and the call goes on unless the profile requires it."""
        address = address_of(server)
        log.warning("mcp_server_failed", server=address, error=why, required=server.required)
        detail = f"the tools of {address} can't be used: {why}"
        if self._job is None:
            return
        if server.required:
            self._job.fail(NO_TOOLS, detail)
        else:
            self._job.warn(NO_TOOLS, detail)

    def _end(self, reason: str) -> None:
        if self._job is not None:
            self._job.end(reason)
        else:
            self._ctx.shutdown(reason)

    @guarded
    def _on_last_left(self) -> None:
        self._end(CloseReason.PARTICIPANT_DISCONNECTED.value)

    @guarded
    def _on_user_state(self, event: UserStateChangedEvent) -> None:
        if event.new_state == "away":
            self._end(TOO_QUIET)

    @guarded
    def _on_close(self, event: CloseEvent) -> None:
        # Otherwise the job would stay in the room until LiveKit closes it, 20 s after the caller left.
        self._ctx.shutdown(event.reason.value)
