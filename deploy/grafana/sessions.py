"""*Sessions*: do they get their agents, and if not, why and where?"""

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.panels import (
    agent_name_variable,
    bars,
    board,
    figure,
    graph,
    or_none,
    over_range,
    per_second,
    quantile,
    rows,
)

# The objective of the alerts too: deploy/prometheus/rules/rollcall.yaml.
OBJECTIVE: Final = 0.995
NAMED: Final = 'agent_name=~"$agent_name"'
CALLS: Final = f'{NAMED}, canary="false"'
JOINED: Final = f'{CALLS}, result="joined"'
FAILED: Final = f'{CALLS}, result="failed"'
_GOOD: Final = ((None, "red"), (0.98, "orange"), (OBJECTIVE, "green"))
_MONTH_FAILED: Final = f"sum(increase(session_joins_total{{{FAILED}}}[30d]))"
_MONTH_ALL: Final = f"sum(increase(session_joins_total{{{CALLS}}}[30d]))"


def _level(level: str) -> tuple[str, str]:
    return over_range("session_level_seconds_count", labels=f'level="{level}", {NAMED}'), level.replace(
        "_", " "
    )


def sessions() -> Dashboard:
    """The dashboard."""
    return rows(
        board(
            "rollcall-sessions",
            "Rollcall / Sessions",
            "Do sessions get their agents, and if not, why and where?",
            variables=(agent_name_variable(),),
        ),
        Do_sessions_get_their_agent=[
            figure(
                "Sessions with an agent",
                "Share of the sessions that got their agent, of all that wanted one in the time shown. "
                f"The objective is {OBJECTIVE:.1%}. Canaries and sessions that were cancelled don't count.",
                "percentunit",
                f"{over_range('session_joins_total', labels=JOINED)}"
                f" / ({over_range('session_joins_total', labels=CALLS)} > 0)",
                steps=_GOOD,
                decimals=2,
            ),
            figure(
                "Error budget left",
                "The rest of the failures that the objective allows in 30 days. Below 0 it is spent.",
                "percentunit",
                f"1 - {_MONTH_FAILED} / ({_MONTH_ALL} > 0) / {1 - OBJECTIVE:g}",
                steps=((None, "red"), (0, "orange"), (0.5, "green")),
                decimals=0,
            ),
            figure(
                "Join, p95",
                "From the request until the agent is in the room, its media connected.",
                "s",
                quantile(0.95, "session_level_seconds", labels=f'level="active", {NAMED}'),
                steps=((None, "green"), (3, "orange"), (10, "red")),
                decimals=2,
            ),
            figure(
                "Conversations",
                "Sessions that are active now.",
                "short",
                f'sum(sessions_open{{status="active", {NAMED}}}) or vector(0)',
            ),
            figure(
                "Waiting",
                "Sessions that wait for a free worker or for LiveKit.",
                "short",
                "sum(sessions_waiting) or vector(0)",
                steps=((None, "green"), (1, "orange"), (20, "red")),
            ),
            figure(
                "Given up",
                "Sessions that failed in the time shown: no agent came, or it was lost and not replaced.",
                "short",
                over_range("session_failures_total", labels=NAMED),
                steps=((None, "green"), (1, "red")),
                decimals=0,
            ),
            graph(
                "Sessions with an agent, over time",
                "The share in each interval. A gap is an interval without session requests.",
                "percentunit",
                (
                    f"{per_second('session_joins_total', by='agent_name', labels=JOINED)}"
                    f" / ({per_second('session_joins_total', by='agent_name', labels=CALLS)} > 0)",
                    "{{agent_name}}",
                ),
                span=12,
                maximum=1,
            ),
            graph(
                "Error budget burn",
                "How many times faster than allowed the budget is spent: at 1 it lasts for 30 days. The "
                "alerts page at 14.4 (over 5 m and 1 h) and at 6 (over 30 m and 6 h). All agents together.",
                "x",
                *(
                    (f"session_joins:failure_ratio_rate{window} / {1 - OBJECTIVE:g}", window)
                    for window in ("5m", "30m", "1h", "6h")
                ),
                span=12,
            ),
        ],
        Where_do_they_stop=[
            bars(
                "Funnel",
                "How many sessions reached each step in the time shown, each session once. 'Ended' includes "
                "conversations that ended by request.",
                "short",
                (over_range("session_requests_total", labels=NAMED), "requested"),
                *map(_level, ("accepted", "assigned", "active", "ready", "first_speech")),
                (over_range("session_ends_total", labels=f'status="ended", {NAMED}'), "ended"),
            ),
            bars(
                "Why sessions failed",
                "Sessions given up in the time shown, by cause. What to do about each is in the runbook, and "
                "in the session's own answer.",
                "short",
                (
                    or_none(f"{over_range('session_failures_total', by='cause', labels=NAMED)} > 0", "cause"),
                    "{{cause}}",
                ),
            ),
            graph(
                "Failures over time",
                "Sessions given up in each interval, by cause.",
                "short",
                (
                    or_none(
                        f"sum by (cause) (increase(session_failures_total{{{NAMED}}}[$interval])) > 0",
                        "cause",
                    ),
                    "{{cause}}",
                ),
                stacked=True,
            ),
            graph(
                "Attempts",
                "Dispatch attempts: accepted by LiveKit, refused and tried again, refused for good.",
                "ops",
                (per_second("dispatch_attempts_total", by="result"), "{{result}}"),
                stacked=True,
            ),
            graph(
                "Attempts without an agent",
                "Attempts that another attempt followed, by why no agent came.",
                "ops",
                (or_none(f"{per_second('session_redispatch_total', by='cause')} > 0", "cause"), "{{cause}}"),
                stacked=True,
            ),
            graph(
                "Lost and extra agents",
                "Agents lost from conversations (replaced, or given up), and extra agents that were removed.",
                "short",
                ("sum by (outcome) (increase(session_agents_lost_total[$interval]))", "lost, {{outcome}}"),
                ("sum(increase(session_duplicate_agents_total[$interval]))", "extra, removed"),
                ("sum(increase(session_abandoned_total[$interval]))", "caller left first"),
                ("sum(increase(session_caller_never_came_total[$interval]))", "caller never came"),
            ),
        ],
        How_fast=[
            graph(
                "Join time",
                "From the request until the agent is in the room, its media connected.",
                "s",
                *(
                    (quantile(q, "session_level_seconds", labels=f'level="active", {NAMED}'), f"p{q * 100:g}")
                    for q in (0.5, 0.95, 0.99)
                ),
                span=12,
            ),
            graph(
                "Levels of proof, p95",
                "From the request until LiveKit took the dispatch, a worker the job, the agent is in the "
                "room, listens, and speaks.",
                "s",
                (quantile(0.95, "session_level_seconds", by="level", labels=NAMED), "{{level}}"),
                span=12,
            ),
        ],
        Bursts=[
            graph(
                "Requests and joins",
                "Sessions requested, and sessions that got their agent.",
                "ops",
                (per_second("session_requests_total", by="", labels=NAMED), "requested"),
                (per_second("session_joins_total", by="result", labels=NAMED), "{{result}}"),
            ),
            graph(
                "In line",
                "Waiting sessions, by what they wait for; and how many a second stopped waiting.",
                "short",
                (or_none("sum by (cause) (sessions_waiting)", "cause"), "waiting: {{cause}}"),
                (per_second("sessions_admitted_total", by=""), "admitted a second"),
            ),
            graph(
                "Verifications in flight",
                "Sessions that wait for their agent, and how long the oldest of them has waited.",
                "short",
                ("sum(session_verifications_in_flight)", "in flight"),
                ("max(session_verification_oldest_seconds)", "oldest, seconds"),
            ),
            graph(
                "Requests to the API",
                "Requests to start a session, by outcome: accepted, or the code of the problem.",
                "ops",
                (per_second("session_start_requests_total", by="outcome"), "{{outcome}}"),
                span=12,
                stacked=True,
            ),
            graph(
                "Canaries",
                "Sessions that nobody joins, which test whether an agent would come.",
                "short",
                (
                    f'sum by (result) (increase(session_joins_total{{canary="true", {NAMED}}}[$interval]))',
                    "{{result}}",
                ),
                span=12,
            ),
        ],
    )
