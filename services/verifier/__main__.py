"""The verifier's process: `python -m services.verifier`."""

from services.verifier.celery_app import process, settings
from shared.contracts.keys import HOUSEKEEPING_QUEUE, VERIFY_QUEUE

if __name__ == "__main__":
    process.main(queues=[VERIFY_QUEUE, HOUSEKEEPING_QUEUE], concurrency=settings.verifier_concurrency)
