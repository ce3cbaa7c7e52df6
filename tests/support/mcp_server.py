"""A server of tools that speaks MCP over HTTP, made with the `mcp` package; it serves who has the token.

It runs as a process of its own: `python mcp_server.py PORT TOKEN`.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer

server = MCPServer("weather station")


@server.tool()
def lookup_weather(location: str) -> str:
    """Look up the weather of a place."""
    return f"sunny in {location}"


@server.tool()
def launch_rocket(location: str) -> str:
    """Launch a rocket, which no profile of the tests allows."""
    raise AssertionError(location)


def guarded(app: Any, token: str) -> Any:
    """The application, for requests that have the token."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (b"authorization", f"Bearer {token}".encode()) not in scope["headers"]:
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await app(scope, receive, send)

    return serve


def main() -> None:
    """Serve until killed."""
    port, token = int(sys.argv[1]), sys.argv[2]
    uvicorn.run(guarded(server.streamable_http_app(), token), host="127.0.0.1", port=port)


@dataclass
class McpProcess:
    """A running server."""

    url: str
    process: asyncio.subprocess.Process

    async def kill(self) -> None:
        """End it as a crash would."""
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def mcp_server(token: str) -> AsyncIterator[McpProcess]:
    """Serve while the block runs."""
    from devstack.ports import free_port
    from tests.support.sessions import until

    port = free_port()
    process = await asyncio.create_subprocess_exec(sys.executable, __file__, str(port), token)

    async def listens() -> bool:
        assert process.returncode is None
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    running = McpProcess(f"http://127.0.0.1:{port}/mcp", process)
    try:
        await until(listens, what="the MCP server listens")
        yield running
    finally:
        await running.kill()


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """Accept connections while the block runs, and never answer; the address is yielded."""
    writers: list[asyncio.StreamWriter] = []

    async def keep(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    listening = await asyncio.start_server(keep, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/mcp"
    finally:
        listening.close()
        for writer in writers:
            writer.close()


if __name__ == "__main__":
    main()
