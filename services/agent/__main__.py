"""The agent worker's process: `python -m services.agent`."""

import asyncio
import sys

from services.agent.settings import AgentSettings
from shared.platform.config import load_settings
from shared.platform.logs.logs import configure_logs, get_logger


def main() -> None:
    """Run until SIGTERM or SIGINT. Exit code 2: bad configuration; 1: LiveKit refuses us or is down."""
    settings = load_settings(AgentSettings)
    configure_logs(settings, service="agent")
    log = get_logger(__name__)
    log.info("environment_checked", message="all required environment variables are set")
    log.info("agent_named", message="agent name for dispatch", agent_name=settings.livekit_agent_name)
    models = settings.default_models.model_dump(exclude_none=True)
    log.info("models_chosen", message="models in use", **models)
    # Imported late: faults in the environment are reported at once, and a job's process needs none of this.
    from services.agent.bootstrap import run_worker
    from services.agent.profile import ProfileInvalid

    try:
        asyncio.run(run_worker(settings))
    except Exception as failure:
        log.critical("worker_failed", reason=str(failure), error_type=type(failure).__name__)
        sys.exit(2 if isinstance(failure, ProfileInvalid) else 1)


if __name__ == "__main__":
    main()
