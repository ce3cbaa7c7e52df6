"""How metrics treat numbers from other processes."""

import math

from prometheus_client import REGISTRY

from services.agent import metrics as agent
from services.transcripts import metrics as transcripts


def measured(stage: str) -> tuple[float, float]:
    labels = {"stage": stage}
    return (
        REGISTRY.get_sample_value("turn_latency_seconds_count", labels) or 0,
        REGISTRY.get_sample_value("turn_latency_seconds_sum", labels) or 0,
    )


def test_each_stage_of_a_turn_is_measured_and_nonsense_is_not() -> None:
    before = {stage: measured(stage) for stage in ("e2e", "llm_ttft", "end_of_turn")}
    transcripts.turn_measured(
        {"e2e_latency": 1.5, "llm_node_ttft": math.nan, "end_of_turn_delay": -1, "playback_latency": 9}
    )
    transcripts.turn_measured({"llm_node_ttft": math.inf})
    assert measured("e2e") == (before["e2e"][0] + 1, before["e2e"][1] + 1.5)
    assert measured("llm_ttft") == before["llm_ttft"]
    assert measured("end_of_turn") == before["end_of_turn"]


def test_a_quota_is_shown_by_dimension_and_nonsense_is_not() -> None:
    agent.inference_quota_told({"rpm_limit": "600", "rpm_used": "12", "credits_used": "much"})
    assert REGISTRY.get_sample_value("inference_quota_limit", {"dimension": "rpm"}) == 600
    assert REGISTRY.get_sample_value("inference_quota_used", {"dimension": "rpm"}) == 12
    assert not REGISTRY.get_sample_value("inference_quota_used", {"dimension": "credits"})
