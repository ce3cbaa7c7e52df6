"""Record the outcome of an attempt (delivered, retry or given up), and the state of its endpoint."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.webhooks import metrics
from services.webhooks.ports import Done
from services.webhooks.schedule import Jitter, next_attempt
from services.webhooks.send import Outcome
from shared.contracts.webhooks import DeliveryStatus
from shared.core.webhooks.tables import WebhookDeliveryRow, WebhookEndpointRow
from shared.platform.database.columns import UtcDateTime
from shared.platform.database.database import changed
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

_Endpoint = WebhookEndpointRow
_Delivery = WebhookDeliveryRow

GONE_REASON: Final = "it answered 410 Gone"


@dataclass(frozen=True)
class Verdict:
    """What was recorded, for counting and logging after the commit.

    `ours` is false if another process had the claim.
    """

    done: Done
    ours: bool
    dead: bool
    disabled: str | None = None


class Recorder:
    """Decides by the schedule. If `disable_after` is None, an endpoint may fail forever."""

    def __init__(self, *, disable_after: timedelta | None, jitter: Jitter) -> None:
        self._disable_after = disable_after
        self._jitter = jitter

    async def record(self, db: AsyncSession, done: Done) -> Verdict:
        """Write the outcome within the transaction."""
        again = None
        delivered = done.reply.outcome is Outcome.DELIVERED
        if not delivered and done.reply.outcome is not Outcome.GONE:
            again = next_attempt(
                done.job.attempts, now=done.at, not_before=done.reply.not_before, jitter=self._jitter
            )
        dead = not delivered and again is None
        status = DeliveryStatus.DELIVERED if delivered else DeliveryStatus.PENDING
        ours = await _settle(
            db,
            done,
            status=DeliveryStatus.DEAD if dead else status,
            next_attempt_at=again,
            finished_at=done.at if again is None else None,
        )
        disabled = await self._judge_endpoint(db, done, dead=dead) if ours else None
        return Verdict(done, ours, dead and ours, disabled)

    async def _judge_endpoint(self, db: AsyncSession, done: Done, *, dead: bool) -> str | None:
        """Update the endpoint's state; if that disables it, return why."""
        reply = done.reply
        if reply.outcome is Outcome.UNSENDABLE:
            return None
        if reply.outcome is Outcome.DELIVERED:
            if done.job.endpoint_failing:
                await _change_endpoint(db, done, failing_since=None, paused_until=None)
            return None
        if not done.job.endpoint_failing or reply.not_before is not None:
            pause = {} if reply.not_before is None else {"paused_until": reply.not_before}
            since = func.coalesce(col(_Endpoint.failing_since), literal(done.at, UtcDateTime()))
            await _change_endpoint(db, done, failing_since=since, **pause)
        if reply.outcome is Outcome.GONE:
            return await _disable(db, done, GONE_REASON)
        if not dead or self._disable_after is None:
            return None
        since = await db.scalar(select(col(_Endpoint.failing_since)).where(_same_endpoint(done)))
        if since is None or done.at - since < self._disable_after:
            return None
        return await _disable(db, done, f"every attempt has failed since {since:%Y-%m-%d %H:%M} UTC")

    def tell(self, verdicts: Iterable[Verdict]) -> None:
        """Count and log an outcome that is committed."""
        for verdict in verdicts:
            job, reply = verdict.done.job, verdict.done.reply
            metrics.attempted(reply.outcome, reply.seconds)
            about = {"endpoint_id": job.endpoint_id, "event_id": job.event_id, "tries": job.attempts}
            if not verdict.ours:
                log.info("webhook_was_taken_over", **about)
            elif reply.outcome is Outcome.DELIVERED:
                if job.envelope is not None:
                    metrics.delivered((verdict.done.at - job.envelope.time).total_seconds())
            elif verdict.dead:
                metrics.given_up()
                log.error("webhook_dead_lettered", error=reply.error, **about)
            else:
                log.warning("webhook_failed", error=reply.error, **about)
            if verdict.disabled is not None:
                metrics.endpoint_disabled("gone" if reply.outcome is Outcome.GONE else "failing")
                log.error("webhook_endpoint_disabled", endpoint_id=job.endpoint_id, reason=verdict.disabled)


async def _settle(db: AsyncSession, done: Done, **values: Any) -> bool:
    """Update the delivery; return False if the claim is no longer ours."""
    job, reply = done.job, done.reply
    mine = (
        col(_Delivery.endpoint_id) == job.endpoint_id,
        col(_Delivery.event_id) == job.event_id,
        col(_Delivery.status) == DeliveryStatus.PENDING,
        col(_Delivery.attempts) == job.attempts,
        col(_Delivery.claimed_until) == job.claimed_until,
    )
    statement = (
        update(_Delivery)
        .where(*mine)
        .values(
            claimed_until=None,
            response_code=reply.status,
            latency_ms=round(reply.seconds * 1000),
            error=reply.error,
            **values,
        )
        .execution_options(synchronize_session=False)
    )
    return bool(await changed(db, statement))


def _same_endpoint(done: Done) -> Any:
    """Match the endpoint only if it is unchanged since the webhook was sent.

    An answer from an old address says nothing about a new one.
    """
    return (col(_Endpoint.id) == done.job.endpoint_id) & (col(_Endpoint.url) == done.job.url)


async def _change_endpoint(db: AsyncSession, done: Done, **values: Any) -> int:
    statement = update(_Endpoint).where(_same_endpoint(done)).values(**values)
    return await changed(db, statement.execution_options(synchronize_session=False))


async def _disable(db: AsyncSession, done: Done, reason: str) -> str | None:
    changes = {"enabled": False, "disabled_reason": reason, "disabled_at": done.at}
    return reason if await _change_endpoint(db, done, **changes) else None
