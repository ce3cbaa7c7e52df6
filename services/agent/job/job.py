"""The functions of a job's own process: set-up, one conversation, and the end.

The SDK pickles these functions by name, so they read what they need from the process's environment.
"""

import asyncio
import signal
import time
from dataclasses import dataclass

from livekit.agents.job import JobContext, JobProcess
from livekit.protocol.agent import Job
from redis.asyncio import Redis

from services.agent.job.converse import Conversation
from services.agent.job.diagnose import diagnose
from services.agent.job.fence import is_late, is_second
from services.agent.job.job_beat import JobBeat
from services.agent.job.publish import FLUSH_S, NEWS_FLUSH_S, STARTED_FLUSH_S, Publisher
from services.agent.job.traced import trace_jobs
from services.agent.job.turns import TurnLog
from services.agent.ports import Outbox
from services.agent.report import JobFacts, Reporter
from services.agent.settings import AgentSettings
from services.agent.spool.spool import JobSpool, SpooledOutbox
from services.agent.worker.admit import log_fields, read_order
from services.agent.worker.shared_counter import SharedCounter
from services.agent.worker.shutdown import WorkerStop
from shared.contracts.dispatching import DispatchOrder
from shared.contracts.events import Step
from shared.contracts.keys import ORDER_ATTRIBUTE, SESSION_ATTRIBUTE
from shared.platform.config import load_settings
from shared.platform.logs.logs import get_logger, log_through_stdlib
from shared.platform.redis.client import connect_redis

_SETTINGS, _CALL, _STOPPING, _FAILURES = "settings", "call", "stopping", "spool_failures"

log = get_logger(__name__)


def set_up(process: JobProcess, *, stopping: WorkerStop, spool_failures: SharedCounter) -> None:
    """Prepare a process before it gets a job. The other arguments are shared with the worker."""
    # A SIGTERM to the whole group is meant for the worker, which then lets its calls finish (see preload.py).
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    log_through_stdlib()
    settings = load_settings(AgentSettings)
    trace_jobs(settings)
    process.userdata[_SETTINGS] = settings
    process.userdata[_STOPPING] = stopping
    process.userdata[_FAILURES] = spool_failures


@dataclass(frozen=True)
class _Call:
    job_id: str
    order: DispatchOrder | None
    redis: Redis
    beat: JobBeat
    spool: JobSpool | None
    publisher: Publisher
    reporter: Reporter
    turns: TurnLog
    conversation: Conversation


async def run_job(ctx: JobContext) -> None:
    """Join the room and talk. LiveKit's SDK calls this as the job's entry point."""
    call = _wire(ctx)
    ctx.proc.userdata[_CALL] = call
    log.info(
        "job_started",
        room_sid=ctx.job.room.sid,
        metadata=_clients_metadata(ctx.job),
    )
    call.reporter.step(Step.ENTRYPOINT_STARTED)
    _, late = await asyncio.gather(call.publisher.flush(within_s=STARTED_FLUSH_S), _is_late(call))
    if late:
        log.info("job_late")
        call.conversation.ended("late")
        ctx.shutdown("late")
        return
    call.beat.start()
    try:
        await _join(ctx, call)
        await call.conversation.start()
    except Exception as failure:
        call.reporter.error(diagnose(failure))
        call.conversation.ended("error")
        raise  # the SDK logs it and ends the job


async def _is_late(call: _Call) -> bool:
    if call.order is None:
        return False
    if await is_late(call.order, redis=call.redis):
        return True
    return await is_second(call.order, call.job_id, redis=call.redis)


async def _join(ctx: JobContext, call: _Call) -> None:
    started = time.perf_counter()
    call.conversation.open()
    await ctx.connect()
    agent = ctx.room.local_participant
    call.reporter.step(Step.CONNECTED, participant_identity=agent.identity, participant_sid=agent.sid)
    await call.publisher.flush(within_s=NEWS_FLUSH_S)
    log.info(
        "room_joined",
        participant_identity=agent.identity,
        participant_sid=agent.sid,
        connect_ms=round((time.perf_counter() - started) * 1000),
    )


async def end_job(ctx: JobContext) -> None:
    """Report the end, and send queued events. The SDK waits for this function, unlike for its callbacks."""
    call: _Call | None = ctx.proc.userdata.get(_CALL)
    if call is None:
        return
    call.reporter.step(Step.CLOSED, reason=call.conversation.end, turns=call.turns.count)
    log.info("job_closed", reason=call.conversation.end, turns=call.turns.count)
    await call.publisher.aclose(flush_s=FLUSH_S)
    if call.spool is not None:
        await call.spool.aclose()
    await call.beat.aclose()
    await call.redis.aclose()


def _wire(ctx: JobContext) -> _Call:
    settings: AgentSettings = ctx.proc.userdata[_SETTINGS]
    order = read_order(ctx.job)
    facts = JobFacts.of_context(ctx)
    ctx.log_context_fields = {"room": facts.room_name, "job_id": facts.job_id, **log_fields(order)}
    redis = connect_redis(settings.redis_url)
    beat = JobBeat(redis=redis, order=order, job_id=facts.job_id)
    publisher = Publisher(redis)
    publisher.start()
    folder = settings.spool_folder
    spool = JobSpool(folder, failures=ctx.proc.userdata[_FAILURES]) if folder is not None else None
    outbox: Outbox = SpooledOutbox(publisher, spool) if spool is not None else publisher
    reporter = Reporter(order=order, facts=facts, outbox=outbox)
    turns = TurnLog(order=order, facts=facts, outbox=outbox)
    conversation = Conversation(
        ctx=ctx,
        settings=settings,
        order=order,
        redis=redis,
        reporter=reporter,
        turns=turns,
        stopping=ctx.proc.userdata[_STOPPING],
    )
    return _Call(facts.job_id, order, redis, beat, spool, publisher, reporter, turns, conversation)


def _clients_metadata(job: Job) -> str | None:
    # A dispatcher of an older version puts the order into the metadata, with the agent's instructions.
    is_theirs = ORDER_ATTRIBUTE in job.attributes or SESSION_ATTRIBUTE not in job.attributes
    return job.metadata if is_theirs else None
