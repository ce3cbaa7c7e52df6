"""Our own worker, whose jobs record what the SDK reports as spoken, and at the end its whole history.

Each line is written at once, so that the record outlives a job that is killed. Beside that, nothing of the
agent service is changed but its agent, which looks things up and hands over when it is told to. In a
session that asks for it (`{"text": true}`) it writes instead of speaking, which makes turns cheap.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from livekit.agents import Agent, AgentServer, AgentSession, RunContext, function_tool
from livekit.agents.job import JobContext
from livekit.agents.llm import (
    AgentHandoff,
    ChatChunk,
    ChatItem,
    ChatMessage,
    ChoiceDelta,
    FunctionCall,
    FunctionCallOutput,
    FunctionToolCall,
)
from livekit.agents.voice.events import ConversationItemAddedEvent, FunctionToolsExecutedEvent

from rollcall_agent.job.running_job import RunningJob
from services.agent import bootstrap, converse
from services.agent.settings import AgentSettings
from shared.platform.config import load_settings
from shared.platform.logs.logs import configure_logs

FOLDER = "RECORDINGS"
TOOLS = {"Look it up": "look_up", "Hand me over": "hand_over"}


class Recording:
    """The record of one job."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        path = Path(os.environ[FOLDER]) / f"{job_id}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, **line: Any) -> None:
        os.write(self._file, json.dumps({"job": self._job_id, **line}).encode() + b"\n")

    def spoken(self, item: ChatItem) -> None:
        if (turn := as_turn(item)) is not None:
            self.write(spoken=turn)


def as_turn(item: ChatItem) -> tuple[str, str] | None:
    """Return id and text of an item that is a turn; None for an item that nobody said or did."""
    if isinstance(item, ChatMessage) and item.role in ("user", "assistant"):
        text = (item.text_content or "").strip()
        return (item.id, text) if text else None
    if isinstance(item, FunctionCall):
        return item.id, f"{item.name}({item.arguments})"
    if isinstance(item, FunctionCallOutput):
        return item.id, item.output
    if isinstance(item, AgentHandoff) and item.old_agent_id is not None:
        return item.id, f"{item.old_agent_id} -> {item.new_agent_id}"
    return None


class Clerk(Agent):
    """An agent that uses a tool at exactly these words."""

    async def llm_node(self, chat_ctx: Any, tools: Any, model_settings: Any) -> AsyncIterator[Any]:
        last = chat_ctx.items[-1]
        wanted = TOOLS.get(last.text_content or "") if isinstance(last, ChatMessage) else None
        if wanted is not None and last.role == "user":
            call = FunctionToolCall(name=wanted, arguments='{"what": "hours"}', call_id=f"call_{last.id}")
            yield ChatChunk(id="chunk", delta=ChoiceDelta(role="assistant", tool_calls=[call]))
            return
        async for chunk in Agent.default.llm_node(self, chat_ctx, tools, model_settings):
            yield chunk

    @function_tool
    async def look_up(self, context: RunContext[None], what: str) -> str:
        """Look something up."""
        return f"{what}: from nine to five"

    @function_tool
    async def hand_over(self, context: RunContext[None], what: str) -> Agent:
        """Let a colleague go on."""
        return SecondClerk(instructions="Be brief.", chat_ctx=self.chat_ctx)


class SecondClerk(Clerk):
    """The colleague."""


_recordings: dict[str, Recording] = {}
_listen, _converse, _build = RunningJob.begin_listening, converse.converse, bootstrap.build_server


async def run_recorded_job(ctx: JobContext) -> None:
    """The service's entry point, recording the session."""
    recording = _recordings[ctx.job.id] = Recording(ctx.job.id)
    recording.write(pid=os.getpid(), room=ctx.job.room.name, began=time.time())
    is_text = json.loads(ctx.job.metadata or "{}").get("text", False)
    start_session = AgentSession.start  # as Rollcall has replaced it

    def on_item(event: ConversationItemAddedEvent) -> None:
        recording.spoken(event.item)  # type: ignore[arg-type]

    def on_tools(event: FunctionToolsExecutedEvent) -> None:
        for call, output in event.zipped():
            recording.spoken(call)
            if output is not None:
                recording.spoken(output)

    def listen(self: RunningJob, session: AgentSession[Any], captions: Any) -> Any:
        listener = _listen(self, session, captions)  # first, so that what is on record has been published
        session.on("conversation_item_added", on_item)
        session.on("function_tools_executed", on_tools)
        return listener

    async def start(self: AgentSession[None], agent: Agent, **options: Any) -> Any:
        if is_text:
            ours = options["room_options"]
            options["room_options"] = replace(ours, audio_input=False, audio_output=False)
        return await start_session(self, agent, **options)

    RunningJob.begin_listening = listen  # type: ignore[method-assign]
    AgentSession.start = start  # type: ignore[method-assign, assignment]
    converse.Agent = Clerk  # type: ignore[attr-defined]
    await _converse(ctx)


async def end_recorded_job(ctx: JobContext) -> None:
    """Record the SDK's history, before Rollcall's last reports."""
    session = ctx._primary_agent_session
    if session is not None:
        _recordings[ctx.job.id].write(history=[as_turn(item) for item in session.history.items])


def build_recording_server(settings: AgentSettings) -> AgentServer:
    """The service's server, with these entry points."""
    server = _build(settings)
    server._entrypoint_fnc = run_recorded_job
    server._session_end_fnc = end_recorded_job
    return server


def main() -> None:
    """Run the worker as `python -m services.agent` does, with these entry points."""
    settings = load_settings(AgentSettings)
    configure_logs(settings, service="agent")
    bootstrap.build_server = build_recording_server
    bootstrap.PRELOADED = ("services.agent.converse",)
    asyncio.run(bootstrap.run_worker(settings))
