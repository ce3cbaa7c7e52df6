"""An agent of a user's own: a function tool, a handoff, a greeting, and nothing of Rollcall but two lines.

It runs as a user runs it, `python own_agent.py start`. Sessions ask for faults by their metadata.
"""

import os

from livekit.agents import (
    Agent,
    AgentServer,
    AgentSession,
    JobContext,
    RunContext,
    cli,
    function_tool,
    inference,
)
from livekit.agents.voice.room_io import RoomOptions

import rollcall_agent
from rollcall_agent import Rollcall

server = AgentServer(num_idle_processes=1, port=0)
rollcall = Rollcall(server)


class Reception(Agent):
    """Looks up the weather, and hands questions about bills over."""

    def __init__(self) -> None:
        super().__init__(instructions="You are the front desk.")

    async def on_enter(self) -> None:
        await self.session.generate_reply(instructions="Greet the caller.")

    @function_tool
    async def lookup_weather(self, context: RunContext[None], location: str) -> str:
        """Look up the weather."""
        job = rollcall_agent.current()
        if job is not None:
            job.note("weather_asked", {"location": location})
        return f"sunny in {location}"

    @function_tool
    async def transfer_to_billing(self, context: RunContext[None]) -> Agent:
        """Let a colleague answer questions about bills."""
        return Billing(instructions="You know about bills.", chat_ctx=self.chat_ctx)


class Billing(Agent):
    """The colleague."""


@server.rtc_session(agent_name=os.environ.get("OWN_AGENT_NAME", "own"))
async def entrypoint(ctx: JobContext) -> None:
    """What the session's metadata asks for, then a conversation in writing: turns are cheap so."""
    job = rollcall_agent.current()
    wish = job.metadata if job is not None and isinstance(job.metadata, dict) else {}
    if wish.get("fault") == "raise":
        raise LookupError("no such customer: 4711")
    if wish.get("fault") == "fail" and job is not None:
        job.fail("customer_unknown", "The customer 4711 is not in the database.")
        return
    session: AgentSession[None] = AgentSession(llm=inference.LLM("openai/gpt-5-mini"))
    options = RoomOptions(audio_input=False, audio_output=False)
    await session.start(Reception(), room=ctx.room, room_options=options)
    if wish.get("fault") == "done" and job is not None:
        job.warn("printer_slow", "The receipt is not printed yet.")
        job.end("order_taken")


if __name__ == "__main__":
    cli.run_app(server)
