"""`Prefer: wait=N` (RFC 7240): answer a start when the agent has joined or is known not to come."""

import asyncio
from contextlib import suppress
from typing import Final
from urllib.request import parse_http_list

from services.api.errors.problems import Problem
from services.api.sessions.read import get_session
from shared.contracts.causes import ADVICE, Cause
from shared.contracts.sessions import TERMINAL, SessionStatus
from shared.core.sessions.tables import SessionRow
from shared.platform.database.database import Database

# Longer than any caller waits for an agent, and shorter than the time limit of proxies.
LONGEST_WAIT_S: Final = 30
# Redis may lose a hint.
POLL_INTERVAL_S: Final = 1.0


def preferred_wait(prefer: list[str]) -> int | None:
    """Return how many seconds a client wants to wait, at most `LONGEST_WAIT_S`; None if it does not want to.

    An invalid preference is ignored, and of two `wait` preferences the first counts.
    """
    for preference in parse_http_list(", ".join(prefer)):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            return _seconds(value.strip().strip('"'))
    return None


def _seconds(text: str) -> int | None:
    # Python's int would also accept "+5", "1_0" and the digits of other scripts.
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0")
    return LONGEST_WAIT_S if len(digits) > 2 else min(int(digits or "0"), LONGEST_WAIT_S)


def is_settled(row: SessionRow) -> bool:
    """Return whether the agent has joined or the session is over."""
    return row.status == SessionStatus.ACTIVE or row.status in TERMINAL


async def until_settled(
    session_id: str, hinted: asyncio.Event, *, database: Database, timeout_s: float
) -> SessionRow:
    """Return the session once it is settled, or as it is when the time is over.

    hinted: is set by each hint that the session has something new.
    """
    time = asyncio.get_running_loop().time
    ends = time() + timeout_s
    while True:
        hinted.clear()
        async with database.read() as db:
            row = await get_session(db, session_id)
        left = ends - time()
        if left <= 0 or is_settled(row):
            return row
        with suppress(TimeoutError):
            async with asyncio.timeout(min(left, POLL_INTERVAL_S)):
                await hinted.wait()


def check_not_lost(row: SessionRow, *, headers: dict[str, str]) -> None:
    """Raise `Problem` if the session is over and has no agent."""
    if row.status == SessionStatus.FAILED:
        cause = Cause(row.cause or Cause.UNKNOWN)
        what = "no agent joined" if row.active_at is None else "the agent joined and was lost"
        raise Problem(
            503,
            "agent_did_not_join",
            f"{what}: {cause}. {ADVICE[cause]}",
            headers=headers,
            cause=cause,
            advice=ADVICE[cause],
            evidence=row.evidence or {},
            session_id=row.id,
            room_name=row.room_name,
        )
    # A canary is over as soon as its agent is proven.
    proven = row.canary and row.status == SessionStatus.ENDED
    if row.status in TERMINAL and not proven:
        detail = f"the session was over before its agent joined: {row.end_reason or row.status}"
        raise Problem(
            409, "session_over", detail, headers=headers, session_id=row.id, room_name=row.room_name
        )
