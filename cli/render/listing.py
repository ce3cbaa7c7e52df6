"""`rollcall sessions` and `rollcall session`."""

from collections.abc import Iterable
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.client.answers import Attempt, Session
from cli.client.client import Client
from cli.client.target import Target, print_json
from cli.render.show import (
    duration,
    evidence_lines,
    fields,
    local,
    local_short,
    name_in_pool,
    plain_table,
    reason_text,
    status_text,
    zone,
)
from devstack.log_console import make_console
from shared.contracts.sessions import LIVE, Level
from shared.platform.plain_text import one_line

# From here on there is room for everything about a session in one line.
_WIDE: Final = 130


async def run_sessions(
    target: Target, filters: dict[str, Any], *, live: bool, limit: int | None, as_json: bool
) -> int:
    """List sessions; return the exit code. Raises `ApiError`."""
    async with target.open() as client:
        found = await find_sessions(client, filters, live=live, limit=limit)
    if as_json:
        print_json({"sessions": [session.model_dump(mode="json") for session in found]})
        return 0
    console = make_console()
    if not found:
        console.print(Text("no sessions", style="dim"))
        return 0
    console.print(sessions_table(found, wide=console.width >= _WIDE))
    if limit is not None and len(found) == limit:
        console.print(Text("there may be more: --limit, --all", style="dim"))
    return 0


async def find_sessions(
    client: Client, filters: dict[str, Any], *, live: bool, limit: int | None
) -> list[Session]:
    """Return the sessions that match, newest first; raises `ApiError`."""
    if not live:
        return await client.sessions(limit=limit, **filters)
    return await client.sessions(limit=limit, **{**filters, "status": [status.value for status in LIVE]})


def sessions_table(found: Iterable[Session], *, wide: bool) -> Table:
    """One row each; narrow, the cause stands under the status, and less is told."""
    more = ["agent", "caller", "join", "length", "turns"] if wide else []
    table = plain_table("session", f"requested {zone()}", "status", *more)
    for session in found:
        status = status_text(session.status)
        if why := (session.failure and session.failure.cause) or session.waiting_for:
            status.append(f"{' ' if wide else chr(10)}{one_line(why)}", style="dim")
        cells = _more_of(session) if wide else []
        table.add_row(session.session_id, local_short(session.timings.requested_at), status, *cells)
    return table


def _more_of(session: Session) -> list[Text]:
    join_ms, timings = session.levels_ms.get(Level.ACTIVE), session.timings
    length = "" if timings.active_at is None else duration(timings.active_at, timings.ended_at)
    cells = (
        name_in_pool(session.agent_name, session.deployment),
        one_line(session.participant_identity or ""),
        "" if join_ms is None else f"{join_ms} ms",
        length,
        "" if session.turns is None else str(session.turns),
    )
    return [Text(cell) for cell in cells]


async def run_session(target: Target, session_id: str, *, as_json: bool) -> int:
    """Show one session; return the exit code. Raises `ApiError`."""
    async with target.open() as client:
        session = await client.session(session_id)
    if as_json:
        print_json(session.model_dump(mode="json"))
    else:
        show_session(session, make_console())
    return 0


def show_session(session: Session, console: Console) -> None:
    """Print everything that people want to know about a session."""
    status = status_text(session.status)
    status.append(f": {one_line(reason_text(session.end_reason))}" if session.end_reason else "")
    models = {kind: name for kind, name in session.models.model_dump().items() if name}
    fields(
        console,
        [
            ("session", session.session_id),
            ("status", status),
            ("waits for", _waiting(session)),
            ("room", one_line(session.room_name)),
            ("agent", name_in_pool(session.agent_name, session.deployment)),
            ("in room as", one_line(session.agent_identity or "")),
            ("caller", one_line(session.participant_identity or "")),
            ("models", one_line(", ".join(f"{kind} {name}" for kind, name in models.items()))),
            ("metadata", "\n".join(evidence_lines(session.metadata)).replace("\n", "\n" + " " * 11)),
            ("requested", local(session.timings.requested_at)),
            ("ended", local(session.timings.ended_at)),
            ("proven", _levels(session)),
            ("turns", str(session.turns) if session.turns else None),
        ],
    )
    if session.attempts:
        console.print()
        console.print(_attempts(session.attempts))
    if session.failure is not None:
        console.print()
        what = "no agent" if session.timings.active_at is None else "agent lost"
        fields(console, [(what, Text(one_line(session.failure.cause), style="bold red"))])
        fields(console, [("", line) for line in evidence_lines(session.failure.evidence)])
        fields(console, [("what to do", Text(one_line(session.failure.advice), style="yellow"))])


def _waiting(session: Session) -> str | None:
    if session.waiting_for is None:
        return None
    return session.waiting_for + (f", place {session.place_in_line}" if session.place_in_line else "")


def _levels(session: Session) -> str:
    return ", ".join(f"{level.replace('_', ' ')} {ms} ms" for level, ms in session.levels_ms.items())


def _attempts(attempts: list[Attempt]) -> Table:
    pools = ["pool"] if any(one.deployment for one in attempts) else []
    table = plain_table("attempt", f"began {zone()}", "outcome", "dispatch", "worker", *pools)
    for one in attempts:
        outcome = Text(one_line(one.outcome or "under way"))
        if one.cause:
            outcome.append(f"\n{one_line(one.cause)}", style="dim")
        if one.error:
            outcome.append(f"\n{one_line(one.error.get('type') or '')}", style="dim")
        began = local_short(one.started_at)
        more = [one.dispatch_id, one.worker_id, *([one.deployment] if pools else [])]
        table.add_row(str(one.number), began, outcome, *(Text(one_line(cell or "")) for cell in more))
    return table
