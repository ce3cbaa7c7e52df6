"""The metrics of the built-in agent, beside those of the library. Labels are closed sets."""

from collections.abc import Mapping
from contextlib import suppress

from prometheus_client import Gauge

_inference_up = Gauge("agent_inference_up", "1 while the inference endpoint answers this worker correctly.")
_quota_limit = Gauge(
    "inference_quota_limit",
    "Quotas of LiveKit Inference: requests and tokens a minute, and credits.",
    ["dimension"],
)
_quota_used = Gauge("inference_quota_used", "Used share of these quotas, in the same units.", ["dimension"])


def inference_checked(*, up: bool) -> None:
    """Set whether the inference endpoint serves this worker."""
    _inference_up.set(up)


def inference_quota_told(quota: Mapping[str, str]) -> None:
    """Set a quota value that the inference endpoint reported: `rpm_limit`, `credits_used` and so on."""
    for name, value in quota.items():
        dimension, _, kind = name.partition("_")
        gauge = {"limit": _quota_limit, "used": _quota_used}[kind]
        with suppress(ValueError):
            gauge.labels(dimension).set(float(value))
