"""Build and run the worker: LiveKit's server object with Rollcall attached, and the signals."""

import logging
import os

from livekit.agents import AgentServer
from livekit.agents.job import JobProcess

from rollcall_agent import Rollcall
from rollcall_agent.spool.spool import check_spool, folder_of
from rollcall_agent.ways import DirectTransport
from rollcall_agent.worker.admit import NO_THRESHOLD
from services.agent.converse import PROFILE, SETTINGS, converse
from services.agent.inference import InferenceCheck
from services.agent.logs import JobRecords
from services.agent.preflight import check_credentials
from services.agent.profile import Secrets, read_own_profile, with_profile
from services.agent.qualification import ModelQualification
from services.agent.settings import AgentSettings
from services.agent.shutdown import Signals, serve
from shared.platform.config import load_settings
from shared.platform.http.listen import ALL_ADDRESSES
from shared.platform.logs.logs import get_logger

# A job's last reports have their own time limit; this is the SDK's limit around it.
SESSION_END_TIMEOUT_S = 15.0
# What the fork server imports once for all jobs. A profile may come with a session, so each job may need MCP.
PRELOADED: tuple[str, ...] = ("services.agent.converse", "services.agent.mcp_tools")

log = get_logger(__name__)


async def run_worker(settings: AgentSettings) -> None:
    """Serve jobs until told to stop.

    Raises `ProfileInvalid`, `CredentialsRefused`, `SpoolUnusable`, `RuntimeError` after the last failed try
    to reach LiveKit, or `OSError` if a port is taken.
    """
    without_profile, settings = settings, with_profile(settings, read_own_profile(settings))
    if settings.agent_profiles is not None:
        log.info("profile_read", agent_name=settings.livekit_agent_name, file=str(settings.agent_profiles))
    check_spool(folder_of(settings))  # before anything is asked of LiveKit
    log.info("livekit_connecting", message="connecting to LiveKit", url=settings.public_livekit_url)
    await check_credentials(settings)
    signals = Signals()
    signals.install()
    for handler in logging.getLogger().handlers:
        handler.addFilter(JobRecords())
    server = build_server(settings)
    Rollcall(
        server,
        qualification=ModelQualification(
            defaults=settings.default_models,
            settings=without_profile.default_models,
            endpoint=InferenceCheck(settings),
            secrets=Secrets.of_process(),
        ),
        transport=DirectTransport(),
        drain=signals.drain.set,
    )
    try:
        await serve(run=server.run, drain=server.drain, close=server.aclose, signals=signals)
    finally:
        log.info("worker_stopped")


def build_server(settings: AgentSettings) -> AgentServer:
    """Return the SDK's worker with our limits. It connects when it runs."""
    # The SDK's only switch for these weights; its fork server reads it (see AgentSettings).
    weights = "1" if settings.agent_turn_detection == "v1-mini" else "0"
    os.environ.setdefault("LIVEKIT_AGENTS_PRELOAD_LOCAL_INFERENCE", weights)  # noqa: TID251
    # Creating the SDK's own clients blocks the loop for 0.1 to 0.2 s, before any audio flows.
    os.environ.setdefault("LIVEKIT_AGENTS_LOOP_BLOCK_WARN_MS", "400")  # noqa: TID251
    server = AgentServer(
        setup_fnc=set_up,
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
        preload_modules=list(PRELOADED),
    )
    server.rtc_session(converse, agent_name=settings.livekit_agent_name)
    return server


def set_up(process: JobProcess) -> None:
    """Prepare a process before it gets a job."""
    settings = load_settings(AgentSettings)
    process.userdata[SETTINGS], process.userdata[PROFILE] = settings, read_own_profile(settings)


def _page_host(settings: AgentSettings) -> str:
    """Return the address of LiveKit's own health page.

    The page sets callers no time limit, so by default only this machine can reach it.
    """
    if settings.agent_http_port == 0:
        return "127.0.0.1"
    return "" if settings.probe_host == ALL_ADDRESSES else settings.probe_host
