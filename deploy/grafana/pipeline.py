"""*Pipeline*: the parts that move sessions and turns: Celery, streams, database, outbox, LiveKit's API."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.panels import board, figure, graph, per_second, quantile, rows


def pipeline() -> Dashboard:
    """The dashboard."""
    return rows(
        board(
            "rollcall-pipeline",
            "Rollcall / Pipeline",
            "What carries sessions and turns: Celery, streams, the database, the outbox, LiveKit's API.",
        ),
        Is_anything_late=[
            figure(
                "Oldest task",
                "How long the oldest task has waited in a queue of Celery.",
                "s",
                "max(celery_queue_oldest_seconds)",
                steps=((None, "green"), (2, "orange"), (10, "red")),
                decimals=1,
            ),
            figure(
                "Oldest unpublished event",
                "How long the oldest session event has waited for publishing. The sweep publishes events "
                "that are unsent after a second.",
                "s",
                "max(outbox_oldest_seconds)",
                steps=((None, "green"), (2, "orange"), (10, "red")),
                decimals=1,
            ),
            figure(
                "Oldest turn",
                "How long the oldest turn has waited in its stream for the database.",
                "s",
                'max(stream_oldest_age_seconds{stream="rollcall:turns"})',
                steps=((None, "green"), (5, "orange"), (30, "red")),
                decimals=1,
            ),
            figure(
                "Turn stored, p95",
                "Time from the end of a turn until it is committed.",
                "s",
                quantile(0.95, "transcript_lag_seconds"),
                steps=((None, "green"), (2, "orange"), (10, "red")),
                decimals=2,
            ),
            figure(
                "Dead letters",
                "Entries of all streams that are set aside; `rollcall replay` puts them back.",
                "short",
                "max(stream_dead_letters)",
                steps=((None, "green"), (1, "orange")),
            ),
            figure(
                "LiveKit calls that failed",
                "Share of the calls to LiveKit's API that failed in the interval. A room that is gone does "
                "not count as a failure.",
                "percentunit",
                '(sum(rate(livekit_api_calls_total{result!~"ok|404|cancelled"}[$interval])) or vector(0))'
                " / (sum(rate(livekit_api_calls_total[$interval])) > 0)",
                steps=((None, "green"), (0.01, "orange"), (0.1, "red")),
                decimals=1,
            ),
        ],
        Celery=[
            graph(
                "Tasks in the queues",
                "Tasks that no Celery worker has taken yet.",
                "short",
                ("max by (queue) (celery_queue_tasks)", "{{queue}}"),
            ),
            graph(
                "Wait for a Celery worker, p95",
                "Time from enqueueing a task until it starts.",
                "s",
                (quantile(0.95, "celery_task_wait_seconds", by="task"), "{{task}}"),
            ),
            graph(
                "Tasks",
                "Tasks that ran, and those that failed.",
                "ops",
                (per_second("celery_tasks_total", by="task"), "{{task}}"),
                (per_second("celery_tasks_total", by="", labels='outcome="failed"'), "failed"),
            ),
            graph(
                "Run time, p95",
                "How long tasks ran. verify_session runs as long as it waits for the agent.",
                "s",
                (quantile(0.95, "celery_task_seconds", by="task"), "{{task}}"),
            ),
            graph(
                "Age of the oldest task",
                "By queue. Above 2 s the sweep enqueues the session once more.",
                "s",
                ("max by (queue) (celery_queue_oldest_seconds)", "{{queue}}"),
            ),
            graph(
                "Put back by the sweep",
                "Sessions whose task was lost, or which were due to be looked at again.",
                "ops",
                (per_second("sweep_enqueued_total", by="task"), "{{task}}"),
            ),
        ],
        Streams_and_transcripts=[
            graph(
                "Backlog",
                "Entries that a group has not acknowledged.",
                "short",
                ("max by (stream, group) (stream_backlog_entries)", "{{stream}}, {{group}}"),
            ),
            graph(
                "Turns",
                "Turns stored, and turns that came again.",
                "ops",
                (per_second("transcript_turns_stored_total", by=""), "stored"),
                (per_second("transcript_duplicates_total", by=""), "came again"),
            ),
            graph(
                "Turn stored",
                "Time from the end of a turn until it is committed.",
                "s",
                *((quantile(q, "transcript_lag_seconds"), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)),
            ),
            graph(
                "What should not be",
                "Turns stored before the turn with the previous number, turns with the same number, entries "
                "set aside, and entries removed before they were handled.",
                "short",
                ("sum(increase(transcript_gaps_total[$interval]))", "out of order"),
                ("sum(increase(transcript_conflicts_total[$interval]))", "same number"),
                ("sum(increase(transcript_dead_lettered_total[$interval]))", "turns set aside"),
                ("sum(increase(agent_reports_dead_lettered_total[$interval]))", "reports set aside"),
                ("sum(increase(stream_lost_pending_total[$interval]))", "cut off"),
            ),
            graph(
                "Outbox",
                "Session events published, batches that failed, and events that wait.",
                "short",
                (per_second("outbox_events_published_total", by=""), "published a second"),
                (per_second("outbox_publish_failures_total", by=""), "failures a second"),
                ("max(outbox_unpublished_events)", "waiting"),
            ),
            graph(
                "Batches of turns",
                "Turns in a batch, and how long a batch took, in milliseconds.",
                "short",
                (quantile(0.95, "transcript_batch_turns"), "turns, p95"),
                (f"1000 * {quantile(0.95, 'transcript_batch_seconds')}", "milliseconds, p95"),
            ),
        ],
        Database=[
            graph(
                "Time in the database, p95",
                "How long database sessions were in use; a write is one transaction.",
                "s",
                (quantile(0.95, "database_session_seconds", by="job, kind"), "{{job}}, {{kind}}"),
                span=12,
            ),
            graph(
                "Database sessions",
                "By process and kind, and those that the database aborted or did not answer.",
                "ops",
                (per_second("database_session_seconds_count", by="job, kind"), "{{job}}, {{kind}}"),
                (per_second("database_failures_total", by=""), "failed"),
                span=12,
            ),
        ],
        LiveKit=[
            graph(
                "Calls",
                "Calls to LiveKit's API, by method.",
                "ops",
                (per_second("livekit_api_calls_total", by="method"), "{{method}}"),
                stacked=True,
            ),
            graph(
                "Calls, p95",
                "How long calls took, by method, and how long they waited because of LIVEKIT_CALLS_PER_S.",
                "s",
                (quantile(0.95, "livekit_api_call_seconds", by="method"), "{{method}}"),
                (quantile(0.95, "livekit_api_turn_seconds"), "waiting for their turn"),
            ),
            graph(
                "Results and webhooks",
                "Calls by result (not_asked: LiveKit was known to be down), and webhooks received.",
                "ops",
                (per_second("livekit_api_calls_total", by="result"), "call: {{result}}"),
                (per_second("livekit_webhooks_total", by="result"), "webhook: {{result}}"),
            ),
        ],
        Webhooks_and_spool=[
            graph(
                "Webhooks by outcome",
                "Requests to customers' endpoints, by outcome, and deliveries given up.",
                "ops",
                (per_second("webhook_attempts_total", by="outcome"), "{{outcome}}"),
                (per_second("webhook_dead_letters_total", by=""), "given up"),
            ),
            graph(
                "Webhooks on their way",
                "Deliveries that no endpoint has accepted yet, and the age of the oldest.",
                "short",
                ("max(webhook_backlog)", "deliveries"),
                ("max(webhook_backlog_oldest_seconds)", "oldest, seconds"),
            ),
            graph(
                "Spool",
                "How long the oldest turn has been on a worker host's disk and not in the database.",
                "s",
                ("max by (instance) (agent_spool_oldest_seconds)", "{{instance}}"),
            ),
        ],
        Processes=[
            graph(
                "CPU",
                "Cores in use, by service.",
                "short",
                ("sum by (job) (rate(process_cpu_seconds_total[$interval]))", "{{job}}"),
                span=12,
            ),
            graph(
                "Memory",
                "Resident memory, by service; the agents' jobs run in processes of their own.",
                "bytes",
                ("sum by (job) (process_resident_memory_bytes)", "{{job}}"),
                span=12,
            ),
        ],
    )
