"""What a process needs to run: settings, logs, database, streams, Celery, LiveKit client, probes."""
