"""The dispatcher, a Celery worker: makes one dispatch attempt at LiveKit.

In: `dispatch_session` tasks, each a session id. Out: a dispatch in LiveKit and `dispatch.accepted`, or
another attempt later, or `session.waiting` where nothing could come of it yet, or `session.failed` where
trying again is no use.
"""
