"""Build and run the worker: connect LiveKit's server object, Redis and the signals."""

import asyncio
import functools
import logging
import os

from livekit.agents import AgentServer
from livekit.agents.version import __version__ as sdk_version
from livekit.protocol.models import ServerInfo

from services.agent.job.job import end_job, run_job, set_up
from services.agent.job.publish import Publisher
from services.agent.settings import AgentSettings
from services.agent.spool.resend import Resender
from services.agent.spool.spool import check_spool
from services.agent.worker.address import Address, is_connected
from services.agent.worker.admit import NO_THRESHOLD, Admission
from services.agent.worker.heartbeat import Heart, Standing
from services.agent.worker.inference import InferenceCheck
from services.agent.worker.logs import JobRecords
from services.agent.worker.orders import Orders
from services.agent.worker.preflight import check_credentials
from services.agent.worker.preflight_job import Qualification
from services.agent.worker.shared_counter import SharedCounter
from services.agent.worker.shutdown import FLUSH_S, SPOOL_FINISH_S, Signals, WorkerStop, serve
from shared.platform.background import running
from shared.platform.build import tell_build
from shared.platform.http.listen import ALL_ADDRESSES
from shared.platform.http.probe import start_probe
from shared.platform.logs.logs import get_logger
from shared.platform.redis.client import connect_redis

# A job's last reports have their own time limit; this is the SDK's limit around it.
SESSION_END_TIMEOUT_S = 15.0

log = get_logger(__name__)


async def run_worker(settings: AgentSettings) -> None:
    """Serve jobs until told to stop.

    Raises `CredentialsRefused`, `SpoolUnusable`, `RuntimeError` after the last failed try to reach LiveKit,
    or `OSError` if a port is taken.
    """
    check_spool(settings.spool_folder)
    log.info("livekit_connecting", message="connecting to LiveKit", url=settings.public_livekit_url)
    await check_credentials(settings)
    signals = Signals()
    signals.install()
    orders = Orders(drain=signals.drain.set)
    for handler in logging.getLogger().handlers:
        handler.addFilter(JobRecords())
    redis = connect_redis(settings.redis_url)
    publisher = Publisher(redis)
    publisher.start()
    stopping = WorkerStop()
    spool_failures = SharedCounter()
    server = build_server(settings, stopping, spool_failures)
    address = Address(server)
    inference = InferenceCheck(settings)
    admission = Admission(
        worker=server,
        max_jobs=settings.agent_max_jobs,
        redis=redis,
        outbox=publisher,
        came_by=address.came_by,
        qualification=Qualification(defaults=settings.default_models, endpoint=inference),
        cordoned=lambda: orders.cordoned,
    )
    server.load_fnc = admission.load
    server.rtc_session(
        run_job,
        agent_name=settings.livekit_agent_name,
        on_request=admission.answer,
        on_session_end=end_job,
    )
    heart = Heart(
        redis=redis,
        settings=settings,
        version=f"livekit-agents/{sdk_version}",
        standing=lambda: Standing(
            active_jobs=admission.active_jobs,
            registered=is_connected(server),
            draining=server.draining,
            cordoned=orders.cordoned,
            sessions=admission.sessions,
            faults=(inference.fault,) if inference.fault else (),
            address=address.address,
            address_worker_id=address.worker_id,
        ),
        obey=orders.obey,
    )

    @server.on("worker_registered")
    def _registered(worker_id: str, _: ServerInfo) -> None:
        log.info(
            "worker_registered",
            message=f"agent {settings.livekit_agent_name} registered with worker id {worker_id}:"
            " it listens for dispatches",
            worker_id=worker_id,
            agent_name=settings.livekit_agent_name,
        )
        heart.registered(worker_id)
        if settings.livekit_placement == "auto":
            address.worker_registered()

    async def drain() -> None:
        draining = asyncio.ensure_future(server.drain(timeout=settings.agent_drain_timeout_s))
        await asyncio.sleep(0)
        heart.beat_now()
        await draining

    async def close() -> None:
        stopping.announce()
        await address.stop()
        await server.aclose()

    tell_build("agent")
    resender = Resender(settings.spool_folder, redis=redis, failures=spool_failures)
    probe = await start_probe(settings)
    try:
        async with running(
            heart=heart.run, address=address.run, inference=inference.run, resender=resender.run
        ):
            await serve(run=server.run, drain=drain, close=close, signals=signals)
    finally:
        await resender.finish(within_s=SPOOL_FINISH_S)
        await inference.aclose()
        await heart.stop()
        await publisher.aclose(flush_s=FLUSH_S)
        await redis.aclose()
        if probe is not None:
            await probe.cleanup()
        log.info("worker_stopped")


def build_server(settings: AgentSettings, stopping: WorkerStop, spool_failures: SharedCounter) -> AgentServer:
    """Return the SDK's worker with our limits. It connects when it runs."""
    # The SDK's only switch for these weights; its fork server reads it (see AgentSettings).
    weights = "1" if settings.agent_turn_detection == "v1-mini" else "0"
    os.environ.setdefault("LIVEKIT_AGENTS_PRELOAD_LOCAL_INFERENCE", weights)  # noqa: TID251
    # Creating the SDK's own clients blocks the loop for 0.1 to 0.2 s, before any audio flows.
    os.environ.setdefault("LIVEKIT_AGENTS_LOOP_BLOCK_WARN_MS", "400")  # noqa: TID251
    return AgentServer(
        setup_fnc=functools.partial(set_up, stopping=stopping, spool_failures=spool_failures),
        ws_url=settings.livekit_url,
        api_key=settings.livekit_api_key,
        api_secret=settings.livekit_api_secret.get_secret_value(),
        load_threshold=NO_THRESHOLD,
        num_idle_processes=settings.agent_idle_processes,
        drain_timeout=settings.agent_drain_timeout_s,
        session_end_timeout=SESSION_END_TIMEOUT_S,
        max_retry=settings.agent_max_retry,
        host=_page_host(settings),
        port=settings.agent_http_port,
        preload_modules=["services.agent.worker.preload"],
    )


def _page_host(settings: AgentSettings) -> str:
    """Return the address of LiveKit's own health page.

    The page sets callers no time limit, so by default only this machine can reach it.
    """
    if settings.agent_http_port == 0:
        return "127.0.0.1"
    return "" if settings.probe_host == ALL_ADDRESSES else settings.probe_host
