"""The metrics of the inference service. Labels are closed sets: the kind, and the outcome."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge, Histogram

from services.inference.catalogue import Kind

_requests = Counter(
    "inference_requests_total",
    "Completions, transcripts and synthesised texts, by how they ended (ok, failed, dropped, refused).",
    ["kind", "outcome"],
)
_seconds = Histogram(
    "inference_engine_seconds",
    "Time from giving work to an engine until its result, including waiting.",
    ["kind"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
_sockets = Gauge("inference_sockets", "Open WebSockets.", ["kind"])
_load_seconds = Gauge("inference_load_seconds", "How long the weights took to load.")


@contextmanager
def engine_work(kind: Kind) -> Iterator[None]:
    """Measure one piece of an engine's work; count it as ok, failed, or dropped by the caller."""
    outcome = "failed"
    try:
        with _seconds.labels(kind).time():
            yield
        outcome = "ok"
    except asyncio.CancelledError:
        outcome = "dropped"
        raise
    finally:
        _requests.labels(kind, outcome).inc()


@contextmanager
def socket_open(kind: Kind) -> Iterator[None]:
    """Count a WebSocket while it is open."""
    with _sockets.labels(kind).track_inprogress():
        yield


def request_refused(kind: Kind | None) -> None:
    """Count a refused request: unauthorised, malformed, or for an unknown model.

    `None`: it asked for no engine.
    """
    _requests.labels(kind or "other", "refused").inc()


def weights_loaded(seconds: float) -> None:
    """Observe how long the transcriber took to load its weights."""
    _load_seconds.set(seconds)
