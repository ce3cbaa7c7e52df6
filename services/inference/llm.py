"""The routes for language models: OpenAI's chat completions, streamed or whole."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import uuid_utils
from aiohttp import web

from services.inference import metrics
from services.inference.catalogue import KNOWN, Kind, require
from services.inference.ports import Converser, Message, ToolCall
from services.inference.request_refused import malformed
from services.inference.tool_schema import read_tools
from shared.platform.clock import Clock

_PIECE = re.compile(r"\S+\s*")
_TOKEN = re.compile(r"\w+|[^\w\s]")
_ARGUMENTS_PIECE = 12  # characters of a call's arguments in one chunk


class Chat:
    """`GET /v1/models` and `POST /v1/chat/completions`."""

    def __init__(self, *, converse: Converser, clock: Clock) -> None:
        self._converse = converse
        self._clock = clock

    async def models(self, _: web.Request) -> web.Response:
        """List the known language models."""
        data = [
            {"id": model, "object": "model", "created": 0, "owned_by": model.partition("/")[0]}
            for model in sorted(KNOWN[Kind.LLM])
        ]
        return web.json_response({"object": "list", "data": data})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Answer a conversation with words, or with the call of a tool that the words ask for."""
        body = await _json_object(request)
        model = require(Kind.LLM, body.get("model"))
        messages = _messages(body.get("messages"))
        tools = read_tools(body)
        with metrics.engine_work(Kind.LLM):
            answer = self._converse(messages, tools)
        head = {
            "id": f"chatcmpl-{uuid_utils.uuid7().hex}",
            "created": int(self._clock().timestamp()),
            "model": model,
        }
        usage = _usage(messages, answer)
        if not body.get("stream"):
            return web.json_response(_whole(head, answer, usage))
        options = body.get("stream_options") or {}
        include_usage = isinstance(options, dict) and options.get("include_usage") is True
        return await _stream(request, _chunks(head, answer, usage if include_usage else None))


async def _stream(request: web.Request, chunks: Iterator[dict[str, Any]]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    for chunk in chunks:
        await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    await response.write(b"data: [DONE]\n\n")
    return response


def _chunks(
    head: dict[str, Any], answer: str | ToolCall, usage: dict[str, int] | None
) -> Iterator[dict[str, Any]]:
    chunk = {**head, "object": "chat.completion.chunk"}

    def choice(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        return {
            **chunk,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
        }

    yield choice({"role": "assistant", "content": ""})
    deltas = _call_deltas(answer) if isinstance(answer, ToolCall) else _text_deltas(answer)
    yield from map(choice, deltas)
    yield choice({}, _finish_reason(answer))
    if usage is not None:
        yield {**chunk, "choices": [], "usage": usage}


def _text_deltas(text: str) -> Iterator[dict[str, Any]]:
    return ({"content": piece} for piece in _PIECE.findall(text))


def _call_deltas(call: ToolCall) -> Iterator[dict[str, Any]]:
    """The call's id and name in one delta, then its arguments in pieces, as OpenAI streams them."""
    whole = _wire_call(call)
    arguments: str = whole["function"]["arguments"]
    begun = {**whole, "function": {**whole["function"], "arguments": ""}}
    yield {"tool_calls": [{"index": 0, **begun}]}
    for start in range(0, len(arguments), _ARGUMENTS_PIECE):
        piece = arguments[start : start + _ARGUMENTS_PIECE]
        yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}


def _wire_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": json.dumps(call.arguments)}
    return {"id": f"call_{uuid_utils.uuid7().hex}", "type": "function", "function": function}


def _finish_reason(answer: str | ToolCall) -> str:
    return "tool_calls" if isinstance(answer, ToolCall) else "stop"


def _whole(head: dict[str, Any], answer: str | ToolCall, usage: dict[str, int]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer}
    if isinstance(answer, ToolCall):
        message = {"role": "assistant", "content": None, "tool_calls": [_wire_call(answer)]}
    return {
        **head,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": _finish_reason(answer)}],
        "usage": usage,
    }


def _usage(messages: Sequence[Message], answer: str | ToolCall) -> dict[str, int]:
    # Words and punctuation marks, counted: close enough for a service that bills nobody.
    text = json.dumps(answer.arguments) if isinstance(answer, ToolCall) else answer
    prompt = sum(len(_TOKEN.findall(message.text)) for message in messages)
    completion = len(_TOKEN.findall(text))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


async def _json_object(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        raise malformed("the body is not JSON") from None
    if not isinstance(body, dict):
        raise malformed("the body is not a JSON object")
    return body


def _messages(messages: object) -> list[Message]:
    if not isinstance(messages, list) or not messages:
        raise malformed("messages must be a list that is not empty", param="messages")
    if not all(isinstance(m, dict) and isinstance(m.get("role"), str) for m in messages):
        raise malformed("each message must be an object with a role", param="messages")
    return [Message(role=m["role"], text=_text(m.get("content"))) for m in messages]


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(
        part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)
    )
