"""Tools of a profile that run here: requests to HTTP addresses, and the hang-up."""

import json
from collections.abc import Callable
from typing import Any, Final

import aiohttp
from livekit.agents import RunContext, ToolError, function_tool
from livekit.agents.llm import RawFunctionTool

from rollcall_agent import current
from services.agent.profile import Secrets
from shared.contracts.profiles import HANG_UP, HttpTool
from shared.contracts.text import CUT_MARK, cut
from shared.platform.clock import utc_now
from shared.platform.http.signatures import signature_headers
from shared.platform.logs.logs import get_logger

# What a model is told of an answer; more would fill its context.
MAX_ANSWER_BYTES: Final = 8_000
HUNG_UP: Final = "hung_up"

log = get_logger(__name__)


def http_tool(tool: HttpTool, secrets: Secrets) -> RawFunctionTool[..., Any]:
    """Make a function tool of an HTTP address: each call is one POST, and its answer is the result."""
    signing = [secrets.fill(tool.secret)] if tool.secret is not None else []

    async def call(raw_arguments: dict[str, object], context: RunContext[Any]) -> str:
        job = current()
        asked = {
            "tool": tool.name,
            "arguments": raw_arguments,
            "session_id": job.session_id if job is not None else None,
        }
        body = json.dumps(asked, ensure_ascii=False)
        signed = signature_headers(
            body, message_id=context.function_call.call_id, secrets=signing, now=utc_now()
        )
        return await _ask(tool, body, headers={"Content-Type": "application/json", **signed})

    schema = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return function_tool(call, raw_schema=schema)


def hang_up_tool(end: Callable[[str], None]) -> RawFunctionTool[..., Any]:
    """Make the tool by which the model ends a call, once what it is saying is said."""

    async def hang_up(raw_arguments: dict[str, object], context: RunContext[Any]) -> None:  # noqa: ARG001
        await context.wait_for_playout()
        end(HUNG_UP)

    schema = {
        "name": HANG_UP,
        "description": "End the call. Say goodbye first; use it only when the caller wants nothing more.",
        "parameters": {"type": "object", "properties": {}},
    }
    return function_tool(hang_up, raw_schema=schema)


async def _ask(tool: HttpTool, body: str, *, headers: dict[str, str]) -> str:
    """Raises `ToolError`, whose words the model is told."""
    limit = aiohttp.ClientTimeout(total=tool.timeout_s)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit) as http,
            http.post(str(tool.url), data=body.encode(), headers=headers, allow_redirects=False) as answer,
        ):
            said, status = await _read(answer.content), answer.status
    except (aiohttp.ClientError, OSError) as failure:  # asyncio's TimeoutError is an OSError
        log.warning("http_tool_failed", tool=tool.name, error=repr(failure))
        raise ToolError(f"{tool.name} can't be reached now") from failure
    if status >= 300:
        log.warning("http_tool_failed", tool=tool.name, error=f"status {status}")
        raise ToolError(f"{tool.name} answers {status}")
    return said


async def _read(content: aiohttp.StreamReader) -> str:
    read = b""
    while len(read) <= MAX_ANSWER_BYTES:
        piece = await content.readany()
        if not piece:
            return read.decode(errors="replace")
        read += piece
    return cut(read.decode(errors="replace"), MAX_ANSWER_BYTES) + CUT_MARK
