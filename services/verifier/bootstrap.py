"""Build the verifier from its parts."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from services.verifier.admit.admission import Admission
from services.verifier.admit.reservations import Reservations
from services.verifier.close.close import Closer
from services.verifier.close.collect import Collector
from services.verifier.gauges.queues import AmqpQueues, Queues, RedisQueues
from services.verifier.gauges.survey import Gauger
from services.verifier.liveness import Liveness
from services.verifier.pools.take_back import Rule, TrafficWatch
from services.verifier.prove.attempt_deadline import AttemptDeadline
from services.verifier.prove.proofs import Proofs
from services.verifier.prove.verify import Verifier
from services.verifier.reports.reports import Reports
from services.verifier.repository import Current, Repository
from services.verifier.settings import VerifierSettings
from services.verifier.sweep.sweep import Sweep
from services.verifier.wake import Waker
from services.verifier.watch.watch import Watch
from shared.contracts.broker_url import is_amqp
from shared.contracts.sessions import NEXT_WORK, SessionStatus, Work
from shared.core.sessions.metrics import agent_name_seen
from shared.core.sessions.outbox import Relay
from shared.platform.agent_names import agent_name_proven
from shared.platform.background import running
from shared.platform.celery.tasks import TaskSender, make_celery
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from shared.platform.livekit.client import LiveKit
from shared.platform.process import process_name
from shared.platform.redis.client import connect_redis

Step = Callable[[Current], Awaitable[None]]


@dataclass(frozen=True)
class Services:
    """The dependencies of the tasks. steps: what does each kind of work of the task `verify_session`."""

    database: Database
    repository: Repository
    steps: Mapping[Work, Step]
    closer: Closer

    async def verify_session(self, session_id: str) -> None:
        """Do what the session's status asks for; nothing if that is another task's work by now."""
        current = await self.repository.read(session_id)
        if current is None:
            return
        work = NEXT_WORK[SessionStatus(current.session.status)]
        if work is not None and (step := self.steps.get(work)) is not None:
            await step(current)

    async def close_session(self, session_id: str) -> None:
        """Clear what an ended session left in LiveKit."""
        await self.closer.close(await self.repository.read_session(session_id))


@asynccontextmanager
async def open_verifier(settings: VerifierSettings) -> AsyncIterator[Services]:
    """Build the verifier in the running loop, run its background tasks, and finally close it."""
    agent_name_proven(settings.livekit_agent_name)
    agent_name_seen(settings.livekit_agent_name)
    me = process_name()
    database = Database(settings.database_url)
    redis = connect_redis(settings.redis_url)
    livekit = LiveKit(settings)
    tasks = TaskSender(
        make_celery("verifier-relay", settings.celery_broker_url, queue_type=settings.broker_queue_type)
    )
    relay = Relay(database=database, redis=redis, tasks=tasks)
    waker = Waker()
    liveness = Liveness(redis, silence_s=settings.agent_silence_s)
    repository = Repository(database, join_budget_s=settings.join_budget_s, now=utc_now)
    proofs = Proofs(database, now=utc_now)
    verifier = Verifier(
        repository=repository,
        proofs=proofs,
        rooms=livekit,
        redis=redis,
        relay=relay,
        waker=waker,
        attempt_deadline=AttemptDeadline(
            window_s=settings.attempt_window_s,
            own_window_s=settings.own_worker_window_s,
            start_window_s=settings.agent_start_window_s,
            liveness=liveness,
        ),
        now=utc_now,
    )
    watch = Watch(
        repository=repository,
        redis=redis,
        proofs=proofs,
        rooms=livekit,
        relay=relay,
        liveness=liveness,
        interval_s=settings.watch_interval_s,
        max_revivals=settings.max_revivals,
        max_attempts=settings.dispatch_max_attempts,
        caller_join_timeout_s=settings.caller_join_timeout_s,
        now=utc_now,
    )
    reports = Reports(database=database, redis=redis, relay=relay, waker=waker, consumer=me, now=utc_now)
    sweep = Sweep(
        database=database,
        relay=relay,
        tasks=tasks,
        repository=repository,
        admission=Admission(database=database, redis=redis, tasks=tasks, rooms=livekit, now=utc_now),
        collector=Collector(database=database, rooms=livekit, now=utc_now),
        holder=me,
        now=utc_now,
    )

    queues: Queues = AmqpQueues(tasks)
    if not is_amqp(settings.celery_broker_url):
        queues = RedisQueues(connect_redis(settings.celery_broker_url))
    gauger = Gauger(database=database, redis=redis, queues=queues, holder=me, now=utc_now)
    reservations = Reservations(
        database=database,
        rooms=livekit,
        relay=relay,
        limits=settings,
        join_budget_s=settings.join_budget_s,
        holder=me,
        now=utc_now,
    )

    traffic = TrafficWatch(
        database=database,
        rule=Rule(
            window=timedelta(seconds=settings.traffic_window_s),
            min_sessions=settings.traffic_min_sessions,
            max_failed_percent=settings.traffic_max_failed_percent,
        ),
        holder=me,
        now=utc_now,
    )

    async def fell_silent(session_id: str) -> None:
        if not waker.wake(session_id):
            await watch.fell_silent(session_id)

    try:
        async with running(
            relay=relay.run,
            reports=reports.run,
            hints=lambda: waker.listen(redis),
            liveness=lambda: liveness.run(fell_silent),
            sweep=sweep.run,
            gauges=gauger.run,
            reservations=reservations.run,
            traffic=traffic.run,
        ):
            yield Services(
                database=database,
                repository=repository,
                steps={Work.VERIFY: verifier.verify, Work.WATCH: watch.check},
                closer=Closer(repository=repository, rooms=livekit, redis=redis, now=utc_now),
            )
    finally:
        await livekit.close()
        await redis.aclose()
        await queues.close()
        await database.close()
        tasks.close()
