"""Cross-origin requests: which pages may call the API from a browser."""

from typing import Final

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from services.api.errors.problems import TRACE_HEADER

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
ACCEPTED_HEADERS: Final = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "Prefer",
    "Last-Event-ID",
    "X-Sandbox-ID",  # LiveKit's SDKs send it to a development token server
    # For pages that trace their requests: W3C Trace Context and Baggage, and a request id of their own.
    "traceparent",
    "tracestate",
    "baggage",
    TRACE_HEADER,
)
EXPOSED_HEADERS: Final = (
    "Location",
    "Retry-After",
    "Idempotency-Replayed",
    "Preference-Applied",
    TRACE_HEADER,
)
# The longest time that browsers accept.
MAX_AGE_S: Final = 7200


def allow_origins(app: FastAPI, origins: list[str]) -> None:
    """Let pages of these origins call `app`; `*` means any. Browsers send them no cookies of ours."""
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=ACCEPTED_HEADERS,
            expose_headers=EXPOSED_HEADERS,
            max_age=MAX_AGE_S,
        )
