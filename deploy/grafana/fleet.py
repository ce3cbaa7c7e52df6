"""*Fleet*: which workers are there, and how many free slots do they have?"""

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.panels import agent_name_variable, board, figure, graph, or_none, per_second, rows

NAMED: Final = 'agent_name=~"$agent_name"'
_JOINED: Final = 'result="joined", '
_POOL: Final = "{{agent_name}}@{{deployment}}"


def _joins(labels: str = "") -> str:
    return f"sum by (agent_name, deployment) (rate(session_pool_joins_total{{{labels}{NAMED}}}[$interval]))"


def fleet() -> Dashboard:
    """The dashboard."""
    return rows(
        board(
            "rollcall-fleet",
            "Rollcall / Fleet",
            "Which agent workers are there, and how many free slots do they have?",
            variables=(agent_name_variable(),),
        ),
        Now=[
            figure(
                "Workers",
                "Agent workers in the registry that are registered at LiveKit and take jobs.",
                "short",
                f'sum(fleet_workers{{state="serving", {NAMED}}})',
                steps=((None, "red"), (1, "green")),
            ),
            figure(
                "Free slots",
                "How many more conversations the workers would take.",
                "short",
                f'sum(fleet_slots{{state="free", {NAMED}}})',
                steps=((None, "red"), (1, "orange"), (3, "green")),
            ),
            figure(
                "Conversations",
                "Running jobs, including those that Rollcall did not dispatch.",
                "short",
                f'sum(fleet_slots{{state="busy", {NAMED}}})',
            ),
            figure(
                "Load",
                "Running jobs as a share of the most that the workers allow.",
                "percentunit",
                f'sum(fleet_slots{{state="busy", {NAMED}}}) / (sum(fleet_slots{{{NAMED}}}) > 0)',
                steps=((None, "green"), (0.8, "orange"), (1, "red")),
                decimals=0,
            ),
            figure(
                "Faulty workers",
                "Workers that report a fault of their own, such as a silent inference endpoint.",
                "short",
                f"sum(fleet_workers_faulty{{{NAMED}}})",
                steps=((None, "green"), (1, "red")),
            ),
            figure(
                "Processes down",
                "Processes that Prometheus can't scrape, of every service.",
                "short",
                "count(up == 0) or vector(0)",
                steps=((None, "green"), (1, "red")),
            ),
        ],
        Capacity=[
            graph(
                "Workers",
                "By agent name and state; draining ones finish their conversations, lost ones fell silent.",
                "short",
                (f"sum by (agent_name, state) (fleet_workers{{{NAMED}}})", "{{agent_name}}, {{state}}"),
                (f"sum by (agent_name) (fleet_workers_lost{{{NAMED}}})", "{{agent_name}}, lost"),
            ),
            graph(
                "Slots",
                "The slots of the workers: running conversations, and free slots.",
                "short",
                (f"sum by (state) (fleet_slots{{{NAMED}}})", "{{state}}"),
                stacked=True,
            ),
            graph(
                "Load",
                "Running jobs as a share of the most allowed, by agent name.",
                "percentunit",
                (f"max by (agent_name) (fleet_load_ratio{{{NAMED}}})", "{{agent_name}}"),
                maximum=1,
            ),
        ],
        Pools=[
            graph(
                "Shares of the traffic",
                "Which share of the sessions that name no pool goes to each pool.",
                "percentunit",
                (f"max by (agent_name, deployment) (fleet_pool_share_ratio{{{NAMED}}})", _POOL),
                stacked=True,
            ),
            graph(
                "Sessions with an agent, by pool",
                "Share of each pool's sessions that got their agent. A pool that fails loses its share.",
                "percentunit",
                (f"{_joins(_JOINED)} / ({_joins()} > 0)", _POOL),
                maximum=1,
            ),
            graph(
                "Free slots, by pool",
                "How many more conversations the workers of each pool would take.",
                "short",
                (f'sum by (agent_name, deployment) (fleet_pool_slots{{state="free", {NAMED}}})', _POOL),
            ),
        ],
        Queue=[
            graph(
                "Sessions in line",
                "Sessions that wait for a free worker or for LiveKit, by what for.",
                "short",
                (or_none("sum by (cause) (sessions_waiting)", "cause"), "{{cause}}"),
                stacked=True,
            ),
            graph(
                "Began to wait",
                "Sessions that had to wait in each interval, by what they waited for.",
                "short",
                (
                    or_none("sum by (cause) (increase(dispatch_waits_total[$interval])) > 0", "cause"),
                    "{{cause}}",
                ),
            ),
            graph(
                "Open sessions",
                "Sessions that are not over, by status.",
                "short",
                (f"sum by (status) (sessions_open{{{NAMED}}})", "{{status}}"),
                stacked=True,
            ),
        ],
        Our_workers=[
            graph(
                "Offers",
                "Jobs that LiveKit offered to our workers, by outcome.",
                "ops",
                (or_none(f"{per_second('agent_jobs_total', by='outcome')} > 0", "outcome"), "{{outcome}}"),
                stacked=True,
            ),
            graph(
                "Jobs of each worker",
                "Running jobs of each process.",
                "short",
                ("agent_active_jobs", "{{instance}}"),
            ),
            graph(
                "Inference and LiveKit, as workers see them",
                "The minimum over all workers: 1 while every worker is registered and its inference endpoint "
                "answers; otherwise 0.",
                "short",
                ("min(agent_inference_up)", "inference"),
                ("min(agent_registered)", "registered at LiveKit"),
                maximum=1.2,
            ),
            graph(
                "Reports",
                "What workers report about their jobs, by step.",
                "ops",
                (per_second("agent_reports_total", by="step"), "{{step}}"),
                stacked=True,
            ),
            graph(
                "What workers could not do",
                "Heartbeats that Redis did not accept, fences that could not be read, sends tried again, "
                "and events given up.",
                "ops",
                ("sum(rate(agent_heartbeats_failed_total[$interval]))", "heartbeats failed"),
                ("sum(rate(agent_fence_unreadable_total[$interval]))", "fences unread"),
                ("sum(rate(agent_publish_retries_total[$interval]))", "sends tried again"),
                ("sum(rate(agent_events_dropped_total[$interval]))", "events given up"),
            ),
            graph(
                "Memory of the workers",
                "Of each worker's main process; its jobs run in processes of their own.",
                "bytes",
                ('process_resident_memory_bytes{job="agent"}', "{{instance}}"),
            ),
        ],
    )
