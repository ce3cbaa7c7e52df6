"""The dispatcher's process: `python -m services.dispatcher`."""

from services.dispatcher.celery_app import process, settings
from shared.contracts.keys import DISPATCH_QUEUE

if __name__ == "__main__":
    process.main(queues=[DISPATCH_QUEUE], concurrency=settings.dispatcher_concurrency)
