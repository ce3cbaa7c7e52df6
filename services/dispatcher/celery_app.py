"""The dispatcher's Celery application."""

from services.dispatcher.bootstrap import open_dispatcher
from services.dispatcher.dispatch import Dispatcher
from services.dispatcher.settings import DispatcherSettings
from shared.contracts.keys import DISPATCH_TASK
from shared.platform.celery.tasks import CeleryProcess, make_celery
from shared.platform.config import load_settings

settings = load_settings(DispatcherSettings)
app = make_celery("dispatcher", settings.celery_broker_url, queue_type=settings.broker_queue_type)
process: CeleryProcess[Dispatcher] = CeleryProcess(
    app,
    name="dispatcher",
    service=lambda: open_dispatcher(settings),
    settings=settings,
    unready=lambda dispatcher: dispatcher.unready(),
)


@app.task(name=DISPATCH_TASK)
def dispatch_session(session_id: str) -> None:
    """Make one dispatch attempt."""
    process.run(lambda dispatcher: dispatcher.dispatch_session(session_id))
