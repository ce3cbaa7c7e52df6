"""Show, export and search conversations."""

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import quote

import httpx
from rich.console import Console
from rich.text import Text

from cli.client import ApiError, error_of, open_http

_ROLES: Final = {"user": "cyan", "assistant": "green"}
_PAGE: Final = 1000


async def show_transcript(api_url: str, session_id: str, console: Console) -> None:
    """Show a conversation, whether it is complete, and how long one waited; raises `ApiError`."""
    after = 0
    first: dict[str, Any] | None = None
    async with open_http(api_url) as http:
        while True:
            page = await _get(http, _path(session_id), limit=_PAGE, after_seq=after)
            first = first or page
            for item in page["items"]:
                console.print(_line(item))
            if page["next_after_seq"] is None:
                break
            after = page["next_after_seq"]
    console.print(Text(_judgement(first), style="dim"))
    for line in _waits(first):
        console.print(Text(line, style="dim"))


async def export_transcript(api_url: str, session_id: str, format: str, output: Path | None) -> None:
    """Write an export to a file or to standard output, as it comes in; raises `ApiError`."""
    async with open_http(api_url) as http:
        try:
            async with http.stream("GET", _path(session_id), params={"format": format}) as answer:
                if answer.is_error:
                    await answer.aread()
                    raise error_of("GET", _path(session_id), answer)
                with nullcontext(sys.stdout.buffer) if output is None else output.open("wb") as file:
                    await _copy(answer, file)
        except httpx.HTTPError as error:
            raise _unreachable(http, error) from None


async def _copy(answer: httpx.Response, file: BinaryIO) -> None:
    async for piece in answer.aiter_bytes():
        file.write(piece)
    file.flush()


async def show_search(api_url: str, words: str, limit: int, console: Console, **filters: str | None) -> None:
    """Show the newest turns that match, each with its session; raises `ApiError`."""
    wanted = {name: value for name, value in filters.items() if value is not None}
    async with open_http(api_url) as http:
        page = await _get(http, "/v1/transcripts/search", q=words, limit=limit, **wanted)
    for hit in page["results"]:
        line = Text(f"{hit['session_id']} {hit['seq']:>4} {hit['created_at'][:19]} ")
        line.append(f"{hit['role']}: ", style=_ROLES.get(hit["role"], "yellow"))
        for part in hit["snippet"]:
            line.append(_printable(part["text"]), style="bold reverse" if part["hit"] else "")
        console.print(line)
    if not page["results"]:
        console.print(Text("nothing was found", style="dim"))
    elif page["next_cursor"] is not None:
        console.print(Text("there are more; narrow the search, or raise --limit", style="dim"))


def _path(session_id: str) -> str:
    return f"/v1/sessions/{quote(session_id, safe='')}/transcript"


async def _get(http: httpx.AsyncClient, path: str, **params: Any) -> dict[str, Any]:
    try:
        answer = await http.get(path, params=params)
    except httpx.HTTPError as error:
        raise _unreachable(http, error) from None
    if answer.is_error:
        raise error_of("GET", path, answer)
    found: dict[str, Any] = answer.json()
    return found


def _unreachable(http: httpx.AsyncClient, error: Exception) -> ApiError:
    return ApiError(f"no answer from the API at {http.base_url}: {error!r}; is `make up` running?")


def _line(item: Mapping[str, Any]) -> Text:
    minutes, seconds = divmod(item["offset_s"], 60)
    line = Text(f"{int(minutes):3}:{seconds:04.1f} ", style="dim")
    line.append(f"{item['role']:>9}  ", style=_ROLES.get(item["role"], "yellow"))
    line.append(_printable(item["text"]), style="default")
    if item["interrupted"]:
        line.append(" [interrupted]", style="dim")
    return line


def _printable(text: str) -> str:
    """What a caller or a model says must not reach the terminal as a command."""
    return "".join(character if character.isprintable() else " " for character in text)


def _judgement(transcript: Mapping[str, Any]) -> str:
    if transcript["erased_at"]:
        return f"the text was erased at {transcript['erased_at']}"
    missing = ", ".join(map(str, transcript["missing"][:20]))
    said = {
        True: "complete",
        False: f"incomplete since {transcript['missing_since']}: {transcript['missing_count']} turns are"
        f" missing ({missing})",
        None: {
            "running": "the call goes on",
            "unclosed": "the agent died without saying how many turns there were; no gap is known",
        }.get(transcript["state"], "not known to be complete"),
    }
    return said[transcript["complete"]]


def _waits(transcript: Mapping[str, Any]) -> list[str]:
    summary = transcript["summary"] or {"latencies": {}}
    return [
        f"{name}: p50 {found['p50'] * 1000:.0f} ms, p95 {found['p95'] * 1000:.0f} ms ({found['count']} turns)"
        for name, found in summary["latencies"].items()
    ]
