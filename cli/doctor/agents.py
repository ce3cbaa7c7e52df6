"""Find agents that join and report nothing: unmodified livekit-agents workers, and old ones."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import select
from sqlmodel import col

from cli.doctor.database import NoDatabase, opened
from cli.doctor.findings import Finding, passed, skipped, warned
from cli.doctor.surroundings import Surroundings
from shared.core.sessions.tables import AttemptRow, SessionRow
from shared.platform.database.errors import DATABASE_ERRORS

NAME: Final = "agents"
# The newest sessions, found by their primary key.
LOOKED_AT: Final = 200
NAMED: Final = 5
TWO_LINES: Final = (
    "add two lines to the agent's file, before its decorator: `from rollcall_agent import Rollcall` and "
    "`rollcall = Rollcall(server)`, with REDIS_URL in its environment (docs/your-agent.md)"
)


async def check_agents(surroundings: Surroundings) -> Sequence[Finding]:
    """Look at the agents of the newest sessions: whether their workers report to Rollcall."""
    newest = select(col(SessionRow.id)).order_by(col(SessionRow.id).desc()).limit(LOOKED_AT).subquery()
    joined = (
        select(col(SessionRow.agent_name), col(AttemptRow.reported_at))
        .join(AttemptRow, col(AttemptRow.session_id) == col(SessionRow.id))
        .where(col(SessionRow.id).in_(select(newest.c.id)), col(AttemptRow.active_at).is_not(None))
    )
    try:
        async with opened(surroundings) as database, database.read() as db:
            agents = [(str(name), reported_at is not None) for name, reported_at in await db.execute(joined)]
    except (NoDatabase, *DATABASE_ERRORS):
        return [skipped(NAME, "who joined is in the database, which can't be read")]
    if not agents:
        return [skipped(NAME, "no session has had its agent yet")]
    silent = sorted({name for name, reports in agents if not reports} - {name for name, yes in agents if yes})
    if not silent:
        return [passed(NAME, "the agents of the newest sessions report to Rollcall")]
    return [_of_silent(silent)]


def _of_silent(names: Sequence[str]) -> Finding:
    said = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    return warned(
        NAME,
        f"{said}: the agent joins, and reports nothing. It has no transcript, its causes are coarse, and its "
        "death is noticed late",
        TWO_LINES,
    )
