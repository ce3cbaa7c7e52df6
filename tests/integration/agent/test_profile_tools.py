"""The tools of a profile, against real servers: what the model is told, and what is sent."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from livekit.agents import ToolError

from devstack.ports import free_port
from services.agent.mcp_tools import ProfileToolset
from services.agent.profile import Secrets
from services.agent.tools import MAX_ANSWER_BYTES, http_tool
from shared.contracts.profiles import HttpTool, McpServer
from tests.support.mcp_server import mcp_server, silent_server
from tests.support.receiver import Answer, Receiver

TOKEN = "a-token-of-the-tests"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECRETS = Secrets({"AGENT_SECRET_TOKEN": TOKEN, "AGENT_SECRET_SHOP": SECRET, "AGENT_SECRET_WRONG": "wrong"})


def described(url: str, **fields: Any) -> HttpTool:
    return HttpTool.model_validate(
        {"name": "order_status", "description": "Look up an order.", "url": url, **fields}
    )


async def called(tool: HttpTool, **arguments: Any) -> str:
    context = SimpleNamespace(function_call=SimpleNamespace(call_id="call_1"))
    said: str = await http_tool(tool, SECRETS)(raw_arguments=arguments, context=context)
    return said


async def test_a_call_of_an_http_tool_is_one_signed_request() -> None:
    async with Receiver() as shop:
        said = await called(described(shop.url, secret="${AGENT_SECRET_SHOP}"), number="4711")
    assert said == "what the endpoint says"
    [asked] = shop.received
    assert asked.id == "call_1"
    body = {"tool": "order_status", "arguments": {"number": "4711"}, "session_id": None}
    assert asked.verified(SECRET) == body


async def test_an_http_tool_without_a_secret_is_not_signed() -> None:
    async with Receiver() as shop:
        await called(described(shop.url))
    assert shop.received[0].headers["webhook-signature"] == ""


@pytest.mark.parametrize("status", [301, 404, 500])
async def test_a_status_that_is_no_success_is_an_error_that_the_model_is_told_of(status: int) -> None:
    async with Receiver(always=Answer(status, {"Location": "/elsewhere"})) as shop:
        with pytest.raises(ToolError, match=f"order_status answers {status}"):
            await called(described(shop.url))
    assert len(shop.received) == 1  # no redirect was followed


async def test_an_http_tool_that_does_not_answer_in_time_is_an_error() -> None:
    async with silent_server() as url:
        with pytest.raises(ToolError, match="order_status can't be reached now"):
            await called(described(url, timeout_s=0.2))


async def test_an_http_tool_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ToolError, match="order_status can't be reached now"):
        await called(described(f"http://127.0.0.1:{free_port()}/"))


async def test_the_model_is_told_the_beginning_of_a_long_answer_that_comes_in_pieces() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for piece in [*["é" * 10] * 1_000, "end"]:
            writer.write(piece.encode())
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        said = await called(described(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"))
    assert said == "é" * (MAX_ANSWER_BYTES // 2) + " [cut]"


class Toolset:
    """A toolset of one server, and what it tells of failures."""

    def __init__(self, url: str, *, names: set[str] | None = None, **fields: Any) -> None:
        self.failures: list[str] = []
        headers = {"Authorization": "Bearer ${AGENT_SECRET_TOKEN}"}
        server = McpServer.model_validate({"url": url, "headers": headers, **fields})
        self.tools = ProfileToolset(
            server,
            SECRETS,
            number=1,
            names=set() if names is None else names,
            on_failure=lambda _, why: self.failures.append(why),
        )

    async def __aenter__(self) -> "Toolset":
        await self.tools.setup()
        return self

    async def __aexit__(self, *_: object) -> None:
        # The SDK logs what closing raises, and goes on.
        await asyncio.gather(self.tools.aclose(), return_exceptions=True)

    @property
    def names(self) -> set[str]:
        return {tool.id for tool in self.tools.tools}

    async def call(self, name: str, **arguments: Any) -> str:
        [tool] = [tool for tool in self.tools.tools if tool.id == name]
        said: str = await cast(Any, tool)(raw_arguments=arguments)
        return said


async def test_tools_of_an_mcp_server_are_those_that_are_allowed() -> None:
    async with mcp_server(TOKEN) as server:
        async with Toolset(server.url) as every:
            assert every.names == {"lookup_weather", "launch_rocket"}
        async with Toolset(server.url, allowed_tools=["lookup_weather", "not_there"]) as toolset:
            assert toolset.names == {"lookup_weather"}
            assert await toolset.call("lookup_weather", location="Paris") == "sunny in Paris"
        async with Toolset(server.url, names={"lookup_weather"}) as toolset:
            assert toolset.names == {"launch_rocket"}  # two tools with one name would break each reply
            with pytest.raises(ToolError):
                await toolset.call("launch_rocket", location="Mars")


async def test_an_mcp_server_that_dies_in_mid_call_is_an_error_that_the_model_is_told_of() -> None:
    async with mcp_server(TOKEN) as server, Toolset(server.url, timeout_s=5) as toolset:
        await server.kill()
        with pytest.raises(ToolError):
            await toolset.call("lookup_weather", location="Paris")
        with pytest.raises(ToolError):
            await toolset.call("lookup_weather", location="Paris")


async def test_an_mcp_server_that_refuses_the_token_has_no_tools() -> None:
    headers = {"Authorization": "Bearer ${AGENT_SECRET_WRONG}"}
    async with mcp_server(TOKEN) as server, Toolset(f"{server.url}?key=4711", headers=headers) as toolset:
        assert toolset.names == set()
    [why] = toolset.failures
    assert "wrong" not in why
    assert "4711" not in why


async def test_an_mcp_server_that_is_not_there_has_no_tools() -> None:
    async with Toolset(f"http://127.0.0.1:{free_port()}/mcp") as toolset:
        assert toolset.names == set()
    assert len(toolset.failures) == 1


async def test_an_mcp_server_that_never_answers_has_no_tools() -> None:
    async with silent_server() as url, Toolset(url) as toolset:
        assert toolset.names == set()
    assert toolset.failures == ["no answer within 5 s"]
