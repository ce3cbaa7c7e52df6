"""Check Celery's broker: whether it answers, and whether a Celery worker consumes each queue."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from celery import Celery
from kombu.exceptions import KombuError
from pydantic import ValidationError

from cli.doctor.findings import Finding, failed, passed
from cli.doctor.surroundings import Surroundings, reason_of
from shared.contracts.keys import DISPATCH_QUEUE, HOUSEKEEPING_QUEUE, VERIFY_QUEUE
from shared.contracts.settings import BrokerSettings
from shared.platform.celery.broker import broker_errors
from shared.platform.celery.tasks import make_celery

NAME: Final = "broker"
QUEUES: Final = "celery"
CONSUMED_BY: Final = {
    DISPATCH_QUEUE: "services.dispatcher",
    VERIFY_QUEUE: "services.verifier",
    HOUSEKEEPING_QUEUE: "services.verifier",
}
CONNECT_TIMEOUT_S: Final = 3
REPLY_TIMEOUT_S: Final = 1.5


async def check_broker(surroundings: Surroundings) -> Sequence[Finding]:
    """Connect, and ask the Celery workers which queues they consume."""
    try:
        url = surroundings.settings(BrokerSettings).celery_broker_url
    except ValidationError as invalid:
        fix = "BROKER_URL=amqp://[user:password@]host// or redis://host:6379/0 (default: REDIS_URL)"
        return [failed(NAME, reason_of(invalid), fix)]
    try:
        consumed = await asyncio.to_thread(_ask, url)
    except (KombuError, OSError, ValueError, LookupError) as error:
        fix = "start the broker, or correct BROKER_URL (default: REDIS_URL)"
        return [failed(NAME, f"{url} does not answer: {error}", fix)]
    return [passed(NAME, f"connected to {url}"), _verdict(consumed)]


def _ask(url: str) -> Mapping[str, list[str]]:
    """Return for each queue the Celery workers that consume it."""
    app: Celery = make_celery("rollcall-doctor", url)
    try:
        with broker_errors(), app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=CONNECT_TIMEOUT_S)
        replies: Any = app.control.inspect(timeout=REPLY_TIMEOUT_S).active_queues()
    finally:
        app.close()
    found: dict[str, list[str]] = {}
    for worker, queues in (replies or {}).items():
        for queue in queues:
            found.setdefault(queue["name"], []).append(worker)
    return found


def _verdict(consumed: Mapping[str, list[str]]) -> Finding:
    idle = [queue for queue in CONSUMED_BY if not consumed.get(queue)]
    if idle:
        services = sorted({CONSUMED_BY[queue] for queue in idle})
        fix = " and ".join(f"python -m {service}" for service in services)
        return failed(QUEUES, f"no Celery worker consumes {', '.join(idle)}", f"start {fix}")
    workers = {worker for queue in CONSUMED_BY for worker in consumed[queue]}
    return passed(QUEUES, f"all {len(CONSUMED_BY)} queues are taken from by {len(workers)} Celery workers")
