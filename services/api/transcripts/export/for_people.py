"""Exports for people, players and spreadsheets: plain text, WebVTT, CSV."""

import csv
import io
import json
from collections.abc import AsyncIterator
from typing import Any, Final

from services.api.transcripts.read.latency import Latencies
from services.api.transcripts.schemas import Turn
from shared.core.sessions.tables import SessionRow
from shared.platform.plain_text import many_lines, one_line

# A cue without an end time is shown as long as it takes to read, at most until the next one begins.
_SECONDS_PER_WORD: Final = 0.4
_SHORTEST_CUE_S: Final = 1.0
_INSTANT_S: Final = 0.001

_CSV_COLUMNS: Final = (
    *("seq", "id", "kind", "role", "participant_identity", "text", "interrupted", "language", "confidence"),
    *("attempt", "created_at", "started_at", "ended_at", "offset_s", "duration_s", "cut_from_bytes"),
)
# A spreadsheet treats a cell that begins with one of these as a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


async def to_text(_: SessionRow, turns: AsyncIterator[Turn]) -> AsyncIterator[str]:
    """Yield one line for each turn, whatever its text contains: time in the call, speaker, text."""
    async for turn in turns:
        said = " ".join(one_line(turn.shown).split())
        mark = " [interrupted]" if turn.interrupted else ""
        yield f"[{_clock(turn.offset_s, milliseconds=False)}] {speaker(turn)}: {said}{mark}\n"


async def to_vtt(session: SessionRow, turns: AsyncIterator[Turn]) -> AsyncIterator[str]:
    """Yield a cue for each message, with times from the beginning of the call. Tool calls are left out."""
    yield f"WEBVTT\n\nNOTE session {session.id}\n\n"
    waiting: Turn | None = None
    async for turn in turns:
        if turn.kind != "message" or not turn.text.strip():
            continue
        if waiting is not None:
            yield _cue(waiting, turn.offset_s)
        # Players treat a cue that begins before the previous one as a fault of the file.
        begins = max(turn.offset_s, waiting.offset_s if waiting is not None else 0.0)
        waiting = turn.model_copy(update={"offset_s": begins})
    if waiting is not None:
        yield _cue(waiting, None)


async def to_csv(_: SessionRow, turns: AsyncIterator[Turn]) -> AsyncIterator[str]:
    """Yield a row for each turn, in the format of RFC 4180, with latencies in columns of their own."""
    line = io.StringIO()
    writer = csv.writer(line)
    writer.writerow([*_CSV_COLUMNS, *Latencies.model_fields, "extra"])
    async for turn in turns:
        values = turn.model_dump(mode="json")
        extra = json.dumps(values["extra"], ensure_ascii=False) if values["extra"] else ""
        cells = [*(values[name] for name in _CSV_COLUMNS), *values["latencies"].values(), extra]
        writer.writerow([_harmless(cell) for cell in cells])
        yield _taken(line)
    yield _taken(line)


def _taken(line: io.StringIO) -> str:
    written = line.getvalue()
    line.seek(0)
    line.truncate()
    return written


def _harmless(cell: Any) -> Any:
    """Return the value so that it is no formula, and no command to a terminal.

    Numbers, even negative ones, stay.
    """
    if not isinstance(cell, str):
        return cell
    # Some spreadsheets ignore spaces before a formula, and all of them ignore invisible characters.
    risky = cell.startswith(_FORMULA) or one_line(cell).lstrip().startswith(_FORMULA)
    shown = many_lines(cell, keep="\n\r\t")
    return f"'{shown}" if risky else shown


def speaker(turn: Turn) -> str:
    """Return the name of the speaker, for people."""
    if turn.kind == "agent_handoff":
        return "handoff"
    return one_line(turn.participant_identity or turn.role)


def _cue(turn: Turn, next_offset_s: float | None) -> str:
    start = turn.offset_s
    if turn.duration_s is not None:
        end = start + turn.duration_s
    else:
        end = start + max(_SHORTEST_CUE_S, len(turn.text.split()) * _SECONDS_PER_WORD)
        if next_offset_s is not None and next_offset_s > start:
            end = min(end, next_offset_s)
    # A cue has to end after its beginning.
    end = max(end, start + _INSTANT_S)
    times = f"{_clock(start)} --> {_clock(end)}"
    lines = "\n".join(line for line in _escaped(many_lines(turn.shown)).splitlines() if line.strip())
    return f"{turn.seq}\n{times}\n<v.{turn.role} {_annotation(speaker(turn))}>{lines}</v>\n\n"


def _escaped(text: str) -> str:
    # This also prevents "-->", which would begin a cue's times.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _annotation(name: str) -> str:
    return " ".join(_escaped(name).split()) or "unknown"


def _clock(seconds: float, *, milliseconds: bool = True) -> str:
    whole = round(seconds * 1000)
    minutes, rest = divmod(whole, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours:02}:{minutes:02}:{rest // 1000:02}"
    return f"{text}.{rest % 1000:03}" if milliseconds else text
