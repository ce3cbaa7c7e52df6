"""The dispatcher, a Celery worker: makes one dispatch attempt at LiveKit.

In: `dispatch_session` tasks, each with a session id. Out: a dispatch in LiveKit and `dispatch.accepted`; or
another attempt later; or `session.waiting` if no agent could come yet; or `session.failed` if trying again
would not help.
"""
