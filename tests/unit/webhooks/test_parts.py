"""Filters, the schedule, bodies and secrets of webhooks."""

from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr, ValidationError
from standardwebhooks import Webhook

from services.api.webhooks.schemas import CreatedWebhookEndpoint, NewSecret, WebhookEndpoint
from services.webhooks.payload import MAX_BYTES, body_of
from services.webhooks.ports import DueDelivery
from services.webhooks.schedule import DELAYS_S, next_attempt, read_retry_after, some_jitter
from shared.contracts.causes import ADVICE, Cause
from shared.contracts.events import Envelope, SessionFailed, Severity, wrap
from shared.contracts.identifiers import SessionId
from shared.contracts.settings import WebhookSettings
from shared.contracts.webhooks import is_known, matches, wants
from shared.core.webhooks.secrets import SecretBox, UnreadableSecret, new_secret
from shared.core.webhooks.tables import WebhookEndpointRow
from tests.unit.making import T0


@pytest.mark.parametrize(
    ("pattern", "event_type", "matched"),
    [
        ("*", "agent.joined.v1", True),
        ("agent.*", "agent.joined.v1", True),
        ("agent.*", "session.failed.v1", False),
        ("agent.joined.*", "agent.joined.v1", True),
        ("agent.joined.v1", "agent.joined.v1", True),
        ("agent.joined", "agent.joined.v1", False),
        ("agent.joined.v1", "agent.joined.v10", False),
    ],
)
def test_a_pattern_means_a_type_or_a_beginning(pattern: str, event_type: str, matched: bool) -> None:
    assert matches(pattern, event_type) is matched


@pytest.mark.parametrize("pattern", ["*", "agent.*", "session.failed.v1", "session.failed.*"])
def test_patterns_of_events_that_there_are(pattern: str) -> None:
    assert is_known(pattern)


@pytest.mark.parametrize(
    "pattern", ["", "agnet.*", "agent", "agent*", "agent.joined", "**", "transcript.*", "agent.reported.v1"]
)
def test_a_pattern_that_means_no_event_is_a_slip(pattern: str) -> None:
    assert not is_known(pattern)


@pytest.mark.parametrize("severity", Severity)
def test_an_endpoint_hears_what_is_loud_enough(severity: Severity) -> None:
    order = list(Severity)
    for least in order:
        heard = wants(["*"], least, "session.failed.v1", severity)
        assert heard is (order.index(severity) >= order.index(least))


def test_the_schedule_takes_about_a_day_and_then_ends() -> None:
    assert timedelta(hours=20) < timedelta(seconds=sum(DELAYS_S)) < timedelta(hours=28)
    assert list(DELAYS_S) == sorted(DELAYS_S)
    for attempts, delay in enumerate(DELAYS_S, start=1):
        planned = next_attempt(attempts, now=T0, not_before=None, jitter=lambda: 1.5)
        assert planned == T0 + timedelta(seconds=delay * 1.5)
    assert next_attempt(len(DELAYS_S) + 1, now=T0, not_before=T0, jitter=lambda: 1.0) is None


def test_jitter_spreads_around_the_plan() -> None:
    drawn = [some_jitter() for _ in range(200)]
    assert all(0.8 <= factor <= 1.2 for factor in drawn)
    assert max(drawn) - min(drawn) > 0.2


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120),
        (" 7 ", 7),
        ("Mon, 23 Nov 2026 12:02:00 GMT", 120),
        ("Mon, 23 Nov 2026 11:00:00 GMT", None),
        ("0", None),
        ("-5", None),
        ("soon", None),
        ("99999999999999999999", None),
        ("", None),
        ("999999", 36_000),
    ],
)
def test_what_an_endpoint_says_of_the_next_attempt(value: str | None, seconds: int | None) -> None:
    wanted = None if seconds is None else T0 + timedelta(seconds=seconds)
    assert read_retry_after(value, now=T0) == wanted


def test_no_attempt_comes_before_the_endpoint_wants_it_nor_before_the_plan() -> None:
    for asked, expected in ((3600, 3600), (1, DELAYS_S[0])):
        wanted = T0 + timedelta(seconds=asked)
        assert next_attempt(1, now=T0, not_before=wanted, jitter=lambda: 1.0) == T0 + timedelta(
            seconds=expected
        )


def failed(evidence: dict[str, Any]) -> Envelope:
    event = SessionFailed(attempt=3, cause=Cause.UNKNOWN, evidence=evidence, advice=ADVICE[Cause.UNKNOWN])
    return wrap(event, session_id=SessionId("s"), source="rollcall", time=T0, sequence=9)


def test_a_short_event_is_sent_as_it_is() -> None:
    envelope = failed({"workers": ["w"] * 30, "error": "e" * 2000})
    assert Envelope.model_validate_json(body_of(envelope)) == envelope


@pytest.mark.parametrize(
    "evidence",
    [
        {"error": "é" * 30_000, "kept": 1},
        {"workers": [{"id": "w" * 100}] * 1000},
        {f"k{number}": {"a": ["x" * 600] * 40} for number in range(40)},
    ],
)
def test_of_a_long_event_the_evidence_is_shortened_and_says_so(evidence: dict[str, Any]) -> None:
    body = body_of(failed(evidence))
    assert len(body.encode()) <= MAX_BYTES
    event = Envelope.model_validate_json(body).event()
    assert isinstance(event, SessionFailed)
    assert event.cause is Cause.UNKNOWN
    assert event.evidence["truncated"] is True
    assert event.evidence.get("kept") == evidence.get("kept")


def key() -> str:
    return Fernet.generate_key().decode()


def test_a_secret_is_one_that_the_library_takes_and_no_other_is_the_same() -> None:
    one, other = new_secret(), new_secret()
    assert one.startswith("whsec_")
    assert one != other
    Webhook(one).sign("id", T0, "{}")


def test_a_sealed_secret_is_read_with_its_key_only() -> None:
    old, new = key(), key()
    secret = new_secret()
    sealed = SecretBox(SecretStr(old)).seal(secret)
    assert secret.removeprefix("whsec_") not in sealed
    assert SecretBox(SecretStr(f"{new}, {old}")).open(sealed) == secret
    for box in (SecretBox(SecretStr(new)), SecretBox(None)):
        with pytest.raises(UnreadableSecret):
            box.open(sealed)


def test_a_secret_shows_in_no_repr() -> None:
    secret = new_secret()
    times: dict[str, Any] = dict.fromkeys(("collects_from", "created_at", "updated_at"), T0)
    row = WebhookEndpointRow(
        id="e", project="p", url="u", events=["*"], secret=secret, previous_secret=secret, **times
    )
    job = DueDelivery("e", "i", 1, T0, "u", sealed_secrets=(secret,), endpoint_failing=False, envelope=None)
    shown = CreatedWebhookEndpoint(secret=secret, **WebhookEndpoint.of(row).model_dump())
    rotated = NewSecret(secret=secret, previous_secret_until=None)
    assert secret not in f"{row!r} {job!r} {shown!r} {rotated!r} {WebhookEndpoint.of(row)!r}"
    assert shown.model_dump()["secret"] == secret


def test_without_a_key_secrets_stay_as_they_are_and_are_read_when_one_is_set_later() -> None:
    secret = new_secret()
    assert SecretBox(None).seal(secret) == secret
    assert SecretBox(SecretStr(key())).open(secret) == secret


@pytest.mark.parametrize("value", ["short", "a" * 44, f"{'A' * 43}=,x"])
def test_what_is_no_key_is_told_at_the_start_and_not_shown(value: str) -> None:
    with pytest.raises(ValidationError, match="32 bytes in base64"):
        WebhookSettings(webhook_secrets_key=SecretStr(value))
    good = WebhookSettings(webhook_secrets_key=SecretStr(key()))
    assert "gAAA" not in repr(good)
    assert "**********" in repr(good)
