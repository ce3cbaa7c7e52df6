"""The verifier, a Celery worker: proves or disproves the join, finds the cause, watches, sweeps.

In: `verify_session` and `close_session` tasks, agents' reports, hints. Out: `agent.joined`, another attempt,
or `session.failed` with its cause. It also closes ended sessions, and its sweep enqueues sessions that a
crash or a lost message left behind.
"""
