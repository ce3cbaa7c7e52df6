"""*Conversation*: how long do callers wait for an answer, and for what?"""

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.panels import board, figure, graph, over_range, per_second, quantile, rows

_STEPS = ((None, "green"), (1.5, "orange"), (3, "red"))


def conversation() -> Dashboard:
    """The dashboard."""
    return rows(
        board(
            "rollcall-conversation",
            "Rollcall / Conversation",
            "How long do callers wait for an answer, and for what?",
        ),
        The_answer=[
            figure(
                "Answer, p50",
                "From the end of the caller's speech until the answer is heard.",
                "s",
                quantile(0.5, "turn_latency_seconds", labels='stage="e2e"'),
                steps=_STEPS,
                decimals=2,
            ),
            figure(
                "Answer, p95",
                "From the end of the caller's speech until the answer is heard.",
                "s",
                quantile(0.95, "turn_latency_seconds", labels='stage="e2e"'),
                steps=_STEPS,
                decimals=2,
            ),
            figure(
                "Model's first token, p95",
                "From the request to the language model until its first token.",
                "s",
                quantile(0.95, "turn_latency_seconds", labels='stage="llm_ttft"'),
                steps=((None, "green"), (1, "orange"), (2, "red")),
                decimals=2,
            ),
            figure(
                "First audio, p95",
                "From the first text until the first audio of the voice.",
                "s",
                quantile(0.95, "turn_latency_seconds", labels='stage="tts_ttfb"'),
                steps=((None, "green"), (0.5, "orange"), (1, "red")),
                decimals=2,
            ),
            figure(
                "First words, p95",
                "From the request for the session until its agent begins to speak.",
                "s",
                quantile(0.95, "session_level_seconds", labels='level="first_speech"'),
                steps=((None, "green"), (5, "orange"), (10, "red")),
                decimals=2,
            ),
            figure(
                "Turns",
                "Turns of both sides that were stored in the time shown.",
                "short",
                over_range("transcript_turns_stored_total"),
                decimals=0,
            ),
        ],
        Where_the_time_goes=[
            graph(
                "Answer",
                "From the end of the caller's speech until the answer is heard.",
                "s",
                *(
                    (quantile(q, "turn_latency_seconds", labels='stage="e2e"'), f"p{q * 100:g}")
                    for q in (0.5, 0.9, 0.95, 0.99)
                ),
                span=12,
            ),
            graph(
                "Stages, p50",
                "Each stage of a turn; transcription and end_of_turn both count from the end of speech.",
                "s",
                (quantile(0.5, "turn_latency_seconds", by="stage"), "{{stage}}"),
                span=12,
            ),
            graph(
                "Stages, p95",
                "Each stage of a turn; transcription and end_of_turn both count from the end of speech.",
                "s",
                (quantile(0.95, "turn_latency_seconds", by="stage"), "{{stage}}"),
                span=12,
            ),
            graph(
                "Turns",
                "Turns with a measured answer, and turns stored, a second.",
                "ops",
                (per_second("turn_latency_seconds_count", by="", labels='stage="e2e"'), "answers"),
                (per_second("transcript_turns_stored_total", by=""), "turns"),
                span=12,
            ),
        ],
        Inference_stand_in=[
            graph(
                "Work of the engines, p95",
                "Only if the stand-in for LiveKit Inference runs: time from giving work to an engine until "
                "its result, including waiting.",
                "s",
                (quantile(0.95, "inference_engine_seconds", by="kind"), "{{kind}}"),
                span=12,
            ),
            graph(
                "Requests to the engines",
                "Only if the stand-in for LiveKit Inference runs: by kind and outcome.",
                "ops",
                (per_second("inference_requests_total", by="kind, outcome"), "{{kind}}, {{outcome}}"),
                span=12,
                stacked=True,
            ),
        ],
    )
