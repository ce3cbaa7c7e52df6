"""Every event ever emitted can still be parsed: a golden file for each, and its expected model."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from shared.contracts.causes import ADVICE, Cause
from shared.contracts.events import (
    EVENT_TYPES,
    AgentAssigned,
    AgentError,
    AgentJoined,
    AgentLost,
    AgentMissing,
    AgentReady,
    AgentReported,
    AgentSpoke,
    CaptionChanged,
    DispatchAccepted,
    DispatchFailed,
    DispatchStarted,
    Envelope,
    Event,
    ExtraAgentRemoved,
    ForeignAgentSeen,
    SessionCancelled,
    SessionEnded,
    SessionExpired,
    SessionFailed,
    SessionRequested,
    SessionReserved,
    SessionWaiting,
    Severity,
    ShareTakenBack,
    Step,
    TurnFinished,
    UnknownEvent,
    WebhookTested,
    wrap,
)
from shared.contracts.identifiers import SessionId
from shared.contracts.sessions import Mode, Role

GOLDEN = Path(__file__).parent / "golden"
SESSION = SessionId("01a20600-0000-7000-8000-000000000001")
ENDPOINT = "01a20600-0000-7000-8000-0000000000e1"
WORKER, JOB, AGENT = "AW_rKpYzvLhCRGy", "AJ_2vVPTnQ4uTbp", "agent-AJ_2vVPTnQ4uTbp"

# Never change or remove an entry or its file: a new shape is a new type.
MEANING: dict[str, Event] = {
    "session.reserved.v1": SessionReserved(
        room_name="room-00000000000000000001",
        agent_name="agent",
        mode=Mode.PIPELINE,
        expires_at=datetime(2026, 11, 23, 12, 15, tzinfo=UTC),
    ),
    "pool.share_taken_back.v1": ShareTakenBack(
        agent_name="agent",
        deployment="green",
        percent=10,
        shares={"blue": 100, "green": 0},
        sessions=12,
        failed=5,
        causes={"entrypoint_failed": 4, "agent_left": 1},
        since=datetime(2026, 11, 23, 11, 42, tzinfo=UTC),
        advice="Find out why.",
    ),
    "session.expired.v1": SessionExpired(reason="nobody joined"),
    "session.requested.v1": SessionRequested(
        room_name="room-00000000000000000001", agent_name="agent", mode=Mode.PIPELINE
    ),
    "session.waiting.v1": SessionWaiting(
        cause=Cause.WORKERS_AT_CAPACITY, place=3, evidence={"workers": [WORKER]}
    ),
    "dispatch.started.v1": DispatchStarted(attempt=1, max_attempts=3),
    "dispatch.accepted.v1": DispatchAccepted(attempt=1, dispatch_id="AD_9ybnLQzKKTHT"),
    "dispatch.failed.v1": DispatchFailed(
        attempt=1,
        cause=Cause.LIVEKIT_UNREACHABLE,
        evidence={"error": "CreateRoom: LiveKit can't be reached"},
        retry_in_s=1.06,
    ),
    "agent.assigned.v1": AgentAssigned(attempt=1, worker_id=WORKER, job_id=JOB),
    "agent.joined.v1": AgentJoined(
        attempt=1,
        participant_identity=AGENT,
        participant_sid="PA_TXFLR8RBwEwh",
        worker_id=WORKER,
        join_seconds=0.412,
    ),
    "agent.ready.v1": AgentReady(attempt=1),
    "agent.first_speech.v1": AgentSpoke(attempt=1),
    "agent.missing.v1": AgentMissing(
        attempt=1, cause=Cause.ASSIGNMENT_TIMEOUT, evidence={"workers": [WORKER]}
    ),
    "agent.lost.v1": AgentLost(
        attempt=1,
        cause=Cause.AGENT_LEFT,
        evidence={"participant_identity": AGENT, "worker_id": WORKER},
        revival=1,
    ),
    "agent.extra_removed.v1": ExtraAgentRemoved(participant_identity=AGENT, attempt=2),
    "agent.foreign_seen.v1": ForeignAgentSeen(
        participant_identity=AGENT, attempt=1, removed=True, advice="Give the worker a name."
    ),
    "session.failed.v1": SessionFailed(
        attempt=3,
        cause=Cause.AGENT_NAME_MISMATCH,
        evidence={"agent_name": "agent", "names_seen": ["Agent"], "nearest": "Agent"},
        advice=ADVICE[Cause.AGENT_NAME_MISMATCH],
    ),
    "session.ended.v1": SessionEnded(reason="ended by request"),
    "session.cancelled.v1": SessionCancelled(
        reason="ended by request",
        cause=Cause.WORKERS_AT_CAPACITY,
        evidence={"waiting_for": "workers_at_capacity"},
    ),
    "agent.reported.v1": AgentReported(
        session_id=SESSION,
        attempt=1,
        step=Step.ERROR,
        room_name="room-00000000000000000001",
        worker_id=WORKER,
        agent_name="agent",
        job_id=JOB,
        participant_identity=AGENT,
        participant_sid="PA_TXFLR8RBwEwh",
        room_sid="RM_QVJmxKyUqtXE",
        reason="error",
        turns=4,
        error=AgentError(
            type="APIStatusError",
            message="model not found",
            cause=Cause.MODEL_MISCONFIGURED,
            descriptor="openai/gpt-6",
        ),
    ),
    "transcript.turn_finished.v1": TurnFinished(
        session_id=SESSION,
        attempt=1,
        seq=3,
        item_id="item_6f1a2b3c4d5e",
        role=Role.USER,
        text="Grüße, ich hätte gern einen Termin.",
        language="de",
        confidence=0.93,
        created_at=datetime(2026, 11, 23, 12, 0, 4, 250000, tzinfo=UTC),
        started_at=datetime(2026, 11, 23, 12, 0, 1, tzinfo=UTC),
        ended_at=datetime(2026, 11, 23, 12, 0, 4, tzinfo=UTC),
        participant_identity="caller-000000000001",
        job_id=JOB,
        worker_id=WORKER,
        metrics={"transcription_delay": 0.31, "end_of_turn_delay": 0.52},
        extra={"tool": "look_up"},
    ),
    "webhook.test.v1": WebhookTested(endpoint_id=ENDPOINT),
    "transcript.caption_changed.v1": CaptionChanged(
        session_id=SESSION,
        attempt=1,
        segment_id="1.user.3",
        role=Role.USER,
        text="Grüße, ich hätte gern",
        language="de",
        participant_identity="caller-000000000001",
    ),
}
# Their subject is something else.
OF_NO_SESSION = {"webhook.test.v1"}


def golden(event_type: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((GOLDEN / f"{event_type}.json").read_text())
    return loaded


def test_every_event_type_has_a_golden_file_and_every_file_a_type() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == set(EVENT_TYPES) == set(MEANING)


@pytest.mark.parametrize("event_type", MEANING)
def test_a_golden_event_still_means_what_it_meant(event_type: str) -> None:
    envelope = Envelope.model_validate(golden(event_type))
    assert envelope.type == event_type
    assert envelope.event() == MEANING[event_type]
    assert type(envelope.event()) is type(MEANING[event_type])
    if event_type not in OF_NO_SESSION:
        assert envelope.session_id == SESSION


@pytest.mark.parametrize(
    ("event_type", "added_later"),
    [("agent.lost.v1", ["revival"]), ("session.cancelled.v1", ["cause", "evidence"])],
)
def test_an_event_from_before_a_field_was_added_still_parses(event_type: str, added_later: list[str]) -> None:
    stored = golden(event_type)
    for name in added_later:
        del stored["data"][name]
    assert type(Envelope.model_validate(stored).event()) is type(MEANING[event_type])


@pytest.mark.parametrize("event_type", MEANING)
def test_what_is_emitted_today_is_written_as_the_golden_file_is(event_type: str) -> None:
    stored = golden(event_type)
    emitted = wrap(
        MEANING[event_type],
        session_id=SESSION,
        source=stored["source"],
        time=datetime.fromisoformat(stored["time"]),
        sequence=stored.get("sequence"),
        event_id=stored["id"],
    ).model_copy(update={"subject": stored["subject"]} if event_type in OF_NO_SESSION else {})
    written = json.loads(emitted.model_dump_json(exclude_none=True))
    assert written == stored


@pytest.mark.parametrize("event_type", MEANING)
def test_keys_that_a_later_version_adds_are_tolerated(event_type: str) -> None:
    later = golden(event_type)
    later["traceparent"] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    later["data"]["colour"] = "blue"
    assert Envelope.model_validate(later).event() == MEANING[event_type]


def required_keys() -> list[tuple[str, str]]:
    return [
        (event_type, name)
        for event_type, model in EVENT_TYPES.items()
        for name, field in model.model_fields.items()
        if field.is_required()
    ]


@pytest.mark.parametrize(("event_type", "key"), required_keys())
def test_an_event_without_a_key_that_it_needs_is_refused(event_type: str, key: str) -> None:
    broken = golden(event_type)
    del broken["data"][key]
    with pytest.raises(ValidationError):
        Envelope.model_validate(broken).event()


@pytest.mark.parametrize("event_type", ["agent.joined.v2", "agent.joined", "", "something.else.v1"])
def test_an_unknown_type_is_named_and_not_guessed(event_type: str) -> None:
    envelope = Envelope.model_validate({**golden("agent.joined.v1"), "type": event_type})
    with pytest.raises(UnknownEvent, match=event_type or "''"):
        envelope.event()


@pytest.mark.parametrize("key", ["source", "type", "subject", "time", "data"])
def test_an_envelope_without_what_cloudevents_asks_for_is_refused(key: str) -> None:
    broken = golden("agent.ready.v1")
    del broken[key]
    with pytest.raises(ValidationError):
        Envelope.model_validate(broken)


def test_another_version_of_cloudevents_is_refused() -> None:
    with pytest.raises(ValidationError):
        Envelope.model_validate({**golden("agent.ready.v1"), "specversion": "2.0"})


@pytest.mark.parametrize("subject", ["", "session", "session/", "room/1", "/"])
def test_a_subject_that_names_no_session_is_an_error(subject: str) -> None:
    envelope = Envelope.model_validate({**golden("agent.ready.v1"), "subject": subject})
    with pytest.raises(ValueError, match="names no session"):
        _ = envelope.session_id


@pytest.mark.parametrize("event_type", MEANING)
def test_types_carry_their_version_and_data_no_type(event_type: str) -> None:
    name, _, version = event_type.rpartition(".v")
    assert name
    assert version.isdigit()
    assert "type" not in golden(event_type)["data"]


def test_only_a_session_given_up_is_critical() -> None:
    assert [t for t, model in EVENT_TYPES.items() if model.severity is Severity.CRITICAL] == [
        "session.failed.v1"
    ]


def test_events_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        MEANING["agent.ready.v1"].attempt = 2  # type: ignore[attr-defined]
