"""Give a session up: the critical event."""

from typing import Any

from services.verifier.repository import Repository
from shared.contracts.causes import ADVICE, Cause
from shared.core.sessions.tables import SessionRow
from shared.platform.logs.logs import get_logger
from shared.platform.tracing import span_names as names
from shared.platform.tracing.tracing import failed

log = get_logger(__name__)


async def give_up(row: SessionRow, cause: Cause, evidence: dict[str, Any], *, repository: Repository) -> None:
    """Fail a session: it has no agent, and none will come. Does nothing if the session moved on."""
    if not await repository.failed(row, cause, evidence):
        return
    failed(cause, {names.OUTCOME: "given_up", names.CAUSE: cause})
    if row.active_at is not None:
        log.critical(
            "agent_not_replaced",
            message=f"CRITICAL: agent lost from room {row.room_name}, and none takes its place",
            revivals=row.revivals,
            cause=str(cause),
            evidence=evidence,
            advice=ADVICE[cause],
        )
        return
    log.critical(
        "agent_did_not_join",
        message=f"CRITICAL: agent dispatch succeeded but agent did not join room {row.room_name}"
        if row.accepted_at
        else f"CRITICAL: no agent came to room {row.room_name}",
        cause=str(cause),
        evidence=evidence,
        advice=ADVICE[cause],
    )
