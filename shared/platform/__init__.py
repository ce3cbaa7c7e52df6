"""What every process runs on, whatever its task: database, Redis, Celery, LiveKit, logs, traces."""
