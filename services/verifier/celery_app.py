"""The verifier's Celery application."""

from services.verifier.bootstrap import Services, open_verifier
from services.verifier.settings import VerifierSettings
from shared.contracts.keys import CLOSE_TASK, VERIFY_TASK
from shared.core.database_ready import unready
from shared.platform.celery.tasks import CeleryProcess, make_celery
from shared.platform.config import load_settings

settings = load_settings(VerifierSettings)
app = make_celery("verifier", settings.celery_broker_url, queue_type=settings.broker_queue_type)
process: CeleryProcess[Services] = CeleryProcess(
    app,
    name="verifier",
    service=lambda: open_verifier(settings),
    settings=settings,
    unready=lambda services: unready(services.database),
)


@app.task(name=VERIFY_TASK)
def verify_session(session_id: str) -> None:
    """Prove or disprove a join; watch an active session."""
    process.run(lambda services: services.verify_session(session_id), interruptible=True)


@app.task(name=CLOSE_TASK)
def close_session(session_id: str) -> None:
    """Clear what an ended session left in LiveKit."""
    process.run(lambda services: services.close_session(session_id), interruptible=True)
