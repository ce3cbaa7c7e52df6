"""Show, export and search conversations."""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO, Final

import httpx
from rich.console import Console
from rich.text import Text

from cli.client.client import Client, open_client, open_http, session_path
from cli.client.show_error import error_of, unreachable
from cli.render.show import local
from shared.platform.plain_text import many_lines, one_line

_ROLES: Final = {"user": "cyan", "assistant": "green"}
_PAGE: Final = 1000


async def show_transcript(api_url: str, session_id: str, console: Console, *, key: str | None = None) -> None:
    """Show a conversation, its completeness, and how long each side waited; raises `ApiError`."""
    first: dict[str, Any] | None = None
    async with open_http(api_url, key=key) as http:
        async for page in _pages(Client(http), session_id):
            first = first or page
            for item in page["items"]:
                console.print(_line(item))
    if first is not None:
        console.print(Text(_judgement(first), style="dim"))
        for line in _waits(first):
            console.print(Text(line, style="dim"))


async def read_transcript(api_url: str, session_id: str, *, key: str | None = None) -> dict[str, Any]:
    """Return the whole conversation, with all its pages joined; raises `ApiError`."""
    whole: dict[str, Any] = {}
    async with open_client(api_url, key=key) as client:
        async for page in _pages(client, session_id):
            items = [*whole.get("items", []), *page["items"]]
            whole = {**(whole or page), "items": items, "next_after_seq": None}
    return whole


async def _pages(client: Client, session_id: str) -> AsyncIterator[dict[str, Any]]:
    after: int | None = 0
    while after is not None:
        page = await client.read(_path(session_id), limit=_PAGE, after_seq=after)
        yield page
        after = page["next_after_seq"]


async def export_transcript(
    api_url: str, session_id: str, format: str, output: Path | None, *, key: str | None = None
) -> None:
    """Write an export to a file or standard output while it arrives; raises `ApiError`."""
    async with open_http(api_url, key=key) as http:
        try:
            async with http.stream("GET", _path(session_id), params={"format": format}) as answer:
                if answer.is_error:
                    await answer.aread()
                    raise error_of("GET", _path(session_id), answer)
                if output is None and sys.stdout.isatty():
                    await _show(answer)
                    return
                with nullcontext(sys.stdout.buffer) if output is None else output.open("wb") as file:
                    await _copy(answer, file)
        except httpx.HTTPError as error:
            raise unreachable(http, error) from None


async def _show(answer: httpx.Response) -> None:
    """Show a piece of an export. Those of an older API may not be plain yet.

    A file gets every byte unchanged.
    """
    async for line in answer.aiter_lines():
        sys.stdout.write(f"{many_lines(line)}\n")
    sys.stdout.flush()


async def _copy(answer: httpx.Response, file: BinaryIO) -> None:
    async for piece in answer.aiter_bytes():
        file.write(piece)
    file.flush()


async def search_transcripts(
    api_url: str, words: str, limit: int, *, key: str | None = None, **filters: str | None
) -> dict[str, Any]:
    """Return the newest turns that match; raises `ApiError`."""
    async with open_client(api_url, key=key) as client:
        found: dict[str, Any] = await client.read("/v1/transcripts/search", q=words, limit=limit, **filters)
    return found


async def show_search(
    api_url: str,
    words: str,
    limit: int,
    console: Console,
    *,
    key: str | None = None,
    **filters: str | None,
) -> None:
    """Show the newest turns that match, each with its session; raises `ApiError`."""
    page = await search_transcripts(api_url, words, limit, key=key, **filters)
    for hit in page["results"]:
        line = Text(f"{hit['session_id']} {hit['seq']:>4} {local(hit['created_at'])} ", style="dim")
        line.append(f"{hit['role']}: ", style=_ROLES.get(hit["role"], "yellow"))
        for part in hit["snippet"]:
            line.append(one_line(part["text"]), style="bold reverse" if part["hit"] else "")
        console.print(line)
    if not page["results"]:
        console.print(Text("nothing was found", style="dim"))
    elif page["next_cursor"] is not None:
        console.print(Text("there are more; narrow the search, or raise --limit", style="dim"))


def _path(session_id: str) -> str:
    return f"{session_path(session_id)}/transcript"


def _line(item: Mapping[str, Any]) -> Text:
    minutes, seconds = divmod(item["offset_s"], 60)
    line = Text(f"{int(minutes):3}:{seconds:04.1f} ", style="dim")
    line.append(f"{item['role']:>9}  ", style=_ROLES.get(item["role"], "yellow"))
    line.append(one_line(item["text"]), style="default")
    if item["interrupted"]:
        line.append(" [interrupted]", style="dim")
    return line


def _judgement(transcript: Mapping[str, Any]) -> str:
    if transcript["erased_at"]:
        return f"the text was erased at {local(transcript['erased_at'])}"
    missing = ", ".join(map(str, transcript["missing"][:20]))
    said = {
        True: "complete",
        False: f"incomplete since {local(transcript['missing_since'])}:"
        f" {transcript['missing_count']} turns are missing ({missing})",
        None: {
            "running": "the call is still running",
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
