"""The verifier, a Celery worker: proves or disproves the join, finds the cause, watches, sweeps.

In: `verify_session` and `close_session` tasks, agents' reports, hints. Out: `agent.joined`, another
attempt, or `session.failed` with its cause; ended sessions closed; what others left behind, enqueued.
"""
