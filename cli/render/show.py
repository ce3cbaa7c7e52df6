"""Formatting for a terminal: times in the user's time zone, columns of names and values, safe text."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.platform.plain_text import one_line

NAME_WIDTH: Final = 11
_STATUS_STYLES: Final = {
    "active": "green",
    "failed": "bold red",
    "requested": "yellow",
    "dispatching": "yellow",
    "dispatched": "yellow",
}


def local(time: datetime | str | None, *, millis: bool = False) -> str:
    """Return a time in the user's time zone, with the zone's name; "" for None."""
    if time is None:
        return ""
    moment = _moment(time).astimezone()
    text = moment.strftime("%Y-%m-%d %H:%M:%S")
    return f"{text}{f'.{moment.microsecond // 1000:03}' if millis else ''} {moment.tzname()}"


def local_short(time: datetime | str | None) -> str:
    """Return the time of day for today, otherwise also the date; the column's head shows the zone."""
    if time is None:
        return ""
    moment = _moment(time).astimezone()
    today = moment.date() == datetime.now(UTC).astimezone().date()
    return moment.strftime("%H:%M:%S" if today else "%m-%d %H:%M:%S")


def zone() -> str:
    """Return the name of the user's time zone."""
    return datetime.now(UTC).astimezone().tzname() or "local"


def ago(time: datetime, now: datetime) -> str:
    """Return how long ago, as one number: 12 s, 5 min, 3 h, 2 d."""
    seconds = max(0, int((now - time).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def duration(begin: datetime, end: datetime | None) -> str:
    """How long something took, or has taken until now: 4.2 s, 3:07 min, 1:02:03 h."""
    seconds = max(0.0, ((end or datetime.now(UTC)) - begin).total_seconds())
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02} min"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02} h"


_REASONS: Final = {
    "participant_disconnected": "the caller hung up",
    "client_initiated": "the agent left",
    "user_initiated": "the agent ended the call",
    "task_completed": "the agent had done its task",
    "room closed": "the room was closed",
    "room_closed": "the room was closed",
    "room_deleted": "the room was closed",
    "participant_removed": "the agent was removed from the room",
    "duplicate_identity": "somebody joined under the agent's identity",
    "worker_stopped": "the agent's worker was stopped",
    "shutdown": "the agent's job was shut down",
    "job_shutdown": "the agent's job was shut down",
    "error": "the agent failed",
    "late": "the agent came too late",
    "caller_left": "the caller left",
    "caller_never_came": "the caller never came",
}


def without_agent(*, joined: bool) -> str:
    """Return the status of a failed session for people: whether an agent had been there."""
    return "the agent was lost, and no other replaced it" if joined else "no agent came"


def reason_text(reason: str) -> str:
    """Return the end reason for people; JSON has the token. An unknown one is shown as words."""
    return _REASONS.get(reason, one_line(reason.replace("_", " ")))


def status_text(status: str) -> Text:
    """Return a session's status, coloured if it matters."""
    return Text(one_line(status), style=_STATUS_STYLES.get(status, ""))


def name_in_pool(agent_name: str, pool: str | None) -> str:
    """Return an agent name with the pool of its workers: `shop@green`, or `shop` for the unnamed pool."""
    return one_line(f"{agent_name}@{pool}" if pool else agent_name)


def fields(console: Console, pairs: Iterable[tuple[str, Text | str | None]]) -> None:
    """Print names and values, one a line, without None and empty ones. Values are never cut."""
    for name, value in pairs:
        if value:
            console.print(Text(f"{name:<{NAME_WIDTH}}", style="dim"), value, sep="", soft_wrap=True)


def evidence_lines(evidence: Mapping[str, Any] | str) -> Iterable[str]:
    """Return a cause's evidence or a session's metadata, one line for each fact."""
    if isinstance(evidence, str):
        yield one_line(evidence)
        return
    for name, value in evidence.items():
        yield f"{one_line(name)}: {one_line(value if isinstance(value, str) else str(value))}"


def plain_table(*columns: str) -> Table:
    """Return a table without borders, in which ids are not wrapped."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True, overflow="fold")
    return table


def _moment(time: datetime | str) -> datetime:
    return datetime.fromisoformat(time) if isinstance(time, str) else time
