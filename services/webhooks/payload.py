"""The body of a webhook: a CloudEvents envelope in JSON, signed as Standard Webhooks specifies."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from shared.contracts.events import Envelope
from shared.platform.http.signatures import signature_headers

CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
# The limit that Standard Webhooks advises, because many receivers accept no more.
MAX_BYTES: Final = 20_000
_LONG_TEXT: Final = 500
_MANY: Final = 20
# The only field of an event without a limit of its own.
_SHORTENED: Final = "evidence"


def body_of(envelope: Envelope) -> str:
    """Return the envelope's JSON. If it is too long, its evidence is shortened and marked as such."""
    body = _json(envelope)
    if len(body.encode()) <= MAX_BYTES:
        return body
    evidence = envelope.data.get(_SHORTENED)
    for shorter in ({**_shortened(evidence), "truncated": True}, {"truncated": True}):
        data = {**_shortened(envelope.data), _SHORTENED: shorter}
        body = _json(envelope.model_copy(update={"data": data}))
        if len(body.encode()) <= MAX_BYTES:
            break
    return body


def signed_headers(
    body: str, *, message_id: str, secrets: Iterable[str], now: datetime, user_agent: str
) -> dict[str, str]:
    """Return the headers, with a signature by each secret, so that a receiver may know either secret."""
    signed = signature_headers(body, message_id=message_id, secrets=secrets, now=now)
    return {"Content-Type": CONTENT_TYPE, "User-Agent": user_agent, **signed}


def _json(envelope: Envelope) -> str:
    return envelope.model_dump_json(exclude_none=True)


def _shortened(value: Any) -> Any:
    """Return a value of the same shape, with long texts and long lists cut."""
    if isinstance(value, str):
        return value if len(value) <= _LONG_TEXT else f"{value[:_LONG_TEXT]}…"
    if isinstance(value, list):
        return [_shortened(part) for part in value[:_MANY]]
    if isinstance(value, dict):
        return {name: _shortened(part) for name, part in list(value.items())[:_MANY]}
    return value
