"""Tools of a profile that MCP servers run. livekit-agents has the client.

The `mcp` package takes a second or more to import. So only those import this module who need it: the fork
server, before any call (`PRELOADED` in bootstrap.py), and a job with such tools, which finds it loaded.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Self

from livekit.agents import ToolError, mcp
from livekit.agents.llm import RawFunctionTool

from services.agent.profile import Secrets, address_of
from shared.contracts.profiles import McpServer
from shared.platform.logs.logs import get_logger

# The greeting waits for the tools. Of several servers, each has as long, at the same time.
CONNECT_S: Final = 5.0

log = get_logger(__name__)


class ProfileToolset(mcp.MCPToolset):
    """The tools of one server. A server that can't be reached has none, and the call goes on.

    names: the names that are taken; those of this server's tools are added. on_failure: told why there
    are no tools.
    """

    def __init__(
        self,
        server: McpServer,
        secrets: Secrets,
        *,
        number: int,
        names: set[str],
        on_failure: Callable[[McpServer, str], None],
    ) -> None:
        super().__init__(id=f"mcp_{number}", mcp_server=_Client(server, secrets))
        self._server = server
        self._names = names
        self._on_failure = on_failure

    async def setup(self, *, reload: bool = False) -> Self:
        """Connect, and list the tools. The SDK calls this as the session starts."""
        try:
            async with asyncio.timeout(CONNECT_S):
                await super().setup(reload=reload)
        except TimeoutError:
            self._on_failure(self._server, f"no answer within {CONNECT_S:g} s")
        except Exception as failure:
            self._on_failure(self._server, _said_by(failure, self._server))
        else:
            self._check_tools()
        return self

    def _check_tools(self) -> None:
        # Of two tools with one name, the SDK would make every reply fail.
        self.filter_tools(self._has_a_name_of_its_own)
        lacking = set(self._server.allowed_tools or ()) - {tool.id for tool in self.tools}
        if lacking:
            log.warning("mcp_tools_missing", server=address_of(self._server), tools=sorted(lacking))

    def _has_a_name_of_its_own(self, tool: RawFunctionTool[..., Any]) -> bool:
        if tool.info.name in self._names:
            log.warning("mcp_tool_left_out", server=address_of(self._server), tool=tool.info.name)
            return False
        self._names.add(tool.info.name)
        return True


class _Client(mcp.MCPServerHTTP):
    """The SDK's client. A call that fails is a `ToolError`, whose words the model is told."""

    def __init__(self, server: McpServer, secrets: Secrets) -> None:
        url = str(server.url)
        super().__init__(
            url,
            transport_type="sse"
            if (server.url.path or "").rstrip("/").endswith("/sse")
            else "streamable_http",
            headers={name: secrets.fill(value) for name, value in server.headers.items()},
            allowed_tools=list(server.allowed_tools) if server.allowed_tools is not None else None,
            client_session_timeout_seconds=server.timeout_s,
            tool_result_resolver=_texts,
        )
        self._server = server

    async def _call_tool(self, name: str, arguments: dict[str, Any], **options: Any) -> Any:
        try:
            return await super()._call_tool(name, arguments, **options)
        except ToolError:
            raise
        except Exception as failure:
            error = _said_by(failure, self._server)
            log.warning("mcp_tool_failed", server=address_of(self._server), tool=name, error=error)
            raise ToolError(f"{name} can't be reached now") from failure


def _texts(context: mcp.MCPToolResultContext) -> str:
    """The words of a result. By default livekit-agents would show the model each part as JSON."""
    parts = context.result.content
    return "\n".join(part.text if part.type == "text" else part.model_dump_json() for part in parts)


def _said_by(failure: BaseException, server: McpServer) -> str:
    """Describe a failure; the SDK's client wraps it into groups, one for each of its tasks."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return f"{type(failure).__name__}: {failure}".replace(str(server.url), address_of(server))
