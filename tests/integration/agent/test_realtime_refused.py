"""A gateway without realtime models, met by livekit-agents' own client: the error says so."""

import asyncio

from aiohttp import web
from livekit.agents import Agent, AgentSession, utils
from livekit.agents.inference.realtime import RealtimeModel
from livekit.agents.voice.events import ErrorEvent

from rollcall_agent.job.diagnose import diagnose_event
from shared.contracts.causes import Cause
from shared.contracts.events import AgentError


async def test_a_gateway_without_realtime_models_is_named() -> None:
    async def absent(_: web.Request) -> web.Response:
        return web.json_response({}, status=404)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", absent)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    told: asyncio.Future[AgentError] = asyncio.get_running_loop().create_future()

    def on_error(event: ErrorEvent) -> None:
        if not told.done():
            told.set_result(diagnose_event(event))

    async with utils.http_context.open():
        model = RealtimeModel(
            "openai/gpt-realtime",
            base_url=f"http://127.0.0.1:{port}/v1",
            api_key="devkey",
            api_secret="a-secret-of-thirty-two-characters",
        )
        session: AgentSession[None] = AgentSession(
            llm=model, turn_handling={"turn_detection": "realtime_llm"}
        )
        session.on("error", on_error)
        await session.start(Agent(instructions="Be brief."))
        try:
            error = await asyncio.wait_for(told, 60)
        finally:
            await session.aclose()
            await runner.cleanup()
    assert (error.cause, error.descriptor) == (Cause.MODEL_MISCONFIGURED, "openai/gpt-realtime")
    assert f"ws://127.0.0.1:{port}/v1/realtime" in error.message
    assert error.message.endswith("this gateway has no realtime models, or not this one")
