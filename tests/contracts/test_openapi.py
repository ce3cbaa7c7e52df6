"""The HTTP interface that clients build on: exactly these routes, and these names in their JSON."""

from typing import Any

import pytest
from pydantic import SecretStr

from services.api.app import create_app
from services.api.settings import ApiSettings

ROUTES = {
    ("post", "/v1/sessions"),
    ("post", "/v1/token"),
    ("get", "/v1/sessions"),
    ("get", "/v1/sessions/{session_id}"),
    ("delete", "/v1/sessions/{session_id}"),
    ("get", "/v1/sessions/{session_id}/events"),
    ("get", "/v1/events"),
    ("get", "/v1/sessions/{session_id}/transcript"),
    ("delete", "/v1/sessions/{session_id}/transcript"),
    ("get", "/v1/transcripts/search"),
    ("post", "/v1/erasures"),
    ("post", "/v1/webhook-endpoints"),
    ("get", "/v1/webhook-endpoints"),
    ("get", "/v1/webhook-endpoints/{endpoint_id}"),
    ("patch", "/v1/webhook-endpoints/{endpoint_id}"),
    ("delete", "/v1/webhook-endpoints/{endpoint_id}"),
    ("post", "/v1/webhook-endpoints/{endpoint_id}/secret"),
    ("post", "/v1/webhook-endpoints/{endpoint_id}/test"),
    ("post", "/v1/webhook-endpoints/{endpoint_id}/replay"),
    ("get", "/v1/webhook-endpoints/{endpoint_id}/deliveries"),
    ("post", "/v1/webhook-endpoints/{endpoint_id}/deliveries/{event_id}/replay"),
    ("get", "/v1/workers"),
    ("post", "/v1/workers/{worker_id}/cordon"),
    ("post", "/v1/workers/{worker_id}/uncordon"),
    ("post", "/v1/workers/{worker_id}/drain"),
    ("post", "/v1/sessions/{session_id}/listeners"),
    ("get", "/v1/agents"),
    ("get", "/v1/agents/{agent_name}"),
    ("put", "/v1/agents/{agent_name}"),
    ("get", "/v1/agents/{agent_name}/demand"),
    ("get", "/v1/agents/{agent_name}/traffic"),
    ("put", "/v1/agents/{agent_name}/traffic"),
    ("get", "/v1/me"),
    ("post", "/v1/login"),
    ("post", "/v1/logout"),
    ("get", "/v1/keys"),
    ("post", "/v1/keys"),
    ("delete", "/v1/keys/{key_id}"),
    ("get", "/v1/dead-letters"),
    ("post", "/v1/dead-letter-replays"),
    ("get", "/v1/dead-letters/{letter_id}"),
    ("delete", "/v1/dead-letters/{letter_id}"),
    ("post", "/v1/dead-letters/{letter_id}/replay"),
    ("get", "/v1/audit"),
    ("get", "/v1/config"),
    ("get", "/v1/line"),
    ("get", "/v1/stats"),
    ("get", "/v1/causes"),
    ("get", "/livez"),
    ("get", "/readyz"),
    ("get", "/health"),
    ("get", "/health/agent"),
    ("get", "/problems/{code}"),
}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    settings = ApiSettings(
        livekit_url="ws://127.0.0.1:7880",
        livekit_api_key="devkey",
        livekit_api_secret=SecretStr("a-secret-of-thirty-two-characters"),
    )
    return create_app(settings).openapi()


def properties(schema: dict[str, Any], name: str) -> set[str]:
    return set(schema["components"]["schemas"][name]["properties"])


def test_exactly_the_documented_routes_are_there(schema: dict[str, Any]) -> None:
    found = {(method, path) for path, methods in schema["paths"].items() for method in methods}
    assert found == ROUTES


def test_the_answer_to_a_start_holds_all_that_a_client_needs_to_join(schema: dict[str, Any]) -> None:
    started = schema["components"]["schemas"]["Started"]
    assert set(started["required"]) == {
        "session_id",
        "room_name",
        "server_url",
        "participant_token",
        "participant_identity",
        "status",
        "agent_identity",
        "timings",
    }


def test_one_parser_reads_the_answer_at_once_and_the_one_that_waited(schema: dict[str, Any]) -> None:
    answers = schema["paths"]["/v1/sessions"]["post"]["responses"]
    at_once, waited = (answers[code]["content"]["application/json"]["schema"] for code in ("202", "200"))
    assert at_once == waited == {"$ref": "#/components/schemas/Started"}
    headers = [p for p in schema["paths"]["/v1/sessions"]["post"]["parameters"] if p["in"] == "header"]
    assert {h["name"]: h["required"] for h in headers} == {"prefer": False, "idempotency-key": False}


def test_the_answer_that_waited_in_vain_says_why(schema: dict[str, Any]) -> None:
    answer = schema["paths"]["/v1/sessions"]["post"]["responses"]["503"]["content"]
    no_agent, _ = answer["application/problem+json"]["schema"]["anyOf"]
    wanted = {"code", "detail", "cause", "advice", "evidence", "session_id", "room_name"}
    assert wanted <= set(no_agent["required"])


def test_everything_a_client_may_ask_for_is_optional(schema: dict[str, Any]) -> None:
    wish = schema["components"]["schemas"]["StartSession"]
    assert "required" not in wish
    assert properties(schema, "StartSession") == {
        "agent_name",
        "deployment",
        "room_name",
        "participant_identity",
        "participant_name",
        "mode",
        "models",
        "instructions",
        "metadata",
        "require",
        "canary",
    }
    assert schema["components"]["schemas"]["StartSession"]["properties"]["require"]["enum"] == [
        "active",
        "ready",
    ]
    assert properties(schema, "Models") == {"stt", "llm", "tts", "realtime", "voice", "language"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "Session",
            "session_id status room_name room_sid agent_name deployment profile_version mode models metadata "
            "participant_identity participant_name attempt max_attempts require canary agent_identity "
            "agent_sid waiting_for place_in_line failure end_reason deadline_at revivals trace_id turns "
            "timings attempts",
        ),
        (
            "Timings",
            "requested_at caller_joined_at accepted_at assigned_at active_at ready_at first_speech_at"
            " ended_at",
        ),
        (
            "TokenRequest",
            "room_name participant_name participant_identity participant_metadata participant_attributes "
            "room_config",
        ),
        (
            "TokenGranted",
            "server_url participant_token participant_name room_name session_id expires_at events_url "
            "ignored",
        ),
        ("Failure", "cause advice evidence"),
        (
            "Attempt",
            "number outcome dispatch_id job_id worker_id deployment participant_identity participant_sid "
            "cause evidence started_at accepted_at assigned_at rejected_at entrypoint_at connected_at "
            "active_at ready_at first_speech_at closed_at close_reason error left_at left_reason",
        ),
        ("SessionPage", "sessions next_cursor"),
        ("SessionHistory", "events"),
        (
            "Envelope",
            "specversion id source type subject time datacontenttype severity sequence traceparent data",
        ),
        (
            "Transcript",
            "session_id status state complete missing missing_count missing_since erased_at items "
            "next_after_seq summary",
        ),
        (
            "Turn",
            "seq id kind role text cut_from_bytes interrupted language confidence participant_identity "
            "attempt created_at started_at ended_at metrics extra offset_s duration_s latencies",
        ),
        (
            "Latencies",
            "transcription_delay end_of_turn_delay llm_node_ttft tts_node_ttfb e2e_latency",
        ),
        ("Summary", "turns words interruptions by_role latencies"),
        ("RoleSummary", "turns words interrupted talk_time_s"),
        ("Percentiles", "p50 p95 count"),
        ("SearchPage", "results next_cursor"),
        (
            "SearchHit",
            "session_id agent_name seq id kind role language participant_identity created_at rank snippet",
        ),
        ("SnippetPart", "text hit"),
        ("Erasure", "session_ids turns stream_entries dead_letters pending"),
        (
            "WebhookEndpoint",
            "id url description events min_severity enabled disabled_reason disabled_at failing_since "
            "paused_until previous_secret_until created_at updated_at",
        ),
        ("NewSecret", "secret previous_secret_until"),
        (
            "Delivery",
            "event_id session_id event_type status attempts next_attempt_at last_attempt_at response_code "
            "latency_ms error created_at finished_at",
        ),
        ("DeliveryPage", "deliveries next_cursor"),
        ("Replayed", "deliveries"),
        ("ApiKey", "id name project kind scopes origins created_at expires_at revoked_at last_used_at"),
        (
            "Stats",
            "since until sessions complete by_status by_cause join_ratio attempts revivals levels buckets",
        ),
        ("LevelTimes", "sessions p50_ms p95_ms p99_ms"),
        ("Bucket", "start sessions joined failed"),
        (
            "CauseGroup",
            "cause agent_name sessions first_at last_at advice sample_session_id sample_evidence",
        ),
        ("Workers", "workers lost"),
        (
            "WorkerHeartbeat",
            "worker_id agent_name deployment address address_worker_id host pid version livekit_url load "
            "active_jobs max_jobs draining cordoned registered started_at beat_at models sessions faults "
            "circuit",
        ),
        ("Traffic", "agent_name shares changed_at taken_back pools"),
        ("PoolShare", "deployment percent workers free_slots"),
        ("Ordered", "worker_id order cordoned draining active_jobs"),
        ("Demand", "agent_name deployment wanted busy withheld waiting buffer slots"),
        ("WorkerFault", "cause detail since"),
    ],
)
def test_names_in_the_answers_stay_as_they_are(schema: dict[str, Any], name: str, expected: str) -> None:
    assert properties(schema, name) == set(expected.split())


def test_the_statuses_a_client_may_see_are_these(schema: dict[str, Any]) -> None:
    assert schema["components"]["schemas"]["SessionStatus"]["enum"] == [
        "reserved",
        "requested",
        "dispatching",
        "dispatched",
        "active",
        "ended",
        "failed",
        "cancelled",
        "expired",
    ]


def test_events_may_be_had_as_json_and_as_a_stream(schema: dict[str, Any]) -> None:
    answers = schema["paths"]["/v1/sessions/{session_id}/events"]["get"]["responses"]["200"]["content"]
    assert set(answers) == {"application/json", "text/event-stream"}
    answers = schema["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]
    assert set(answers) == {"text/event-stream"}


def test_a_transcript_may_be_had_in_each_of_these_media_types(schema: dict[str, Any]) -> None:
    answers = schema["paths"]["/v1/sessions/{session_id}/transcript"]["get"]["responses"]["200"]["content"]
    assert set(answers) == {
        "application/json",
        "application/jsonl",
        "application/x-ndjson",
        "text/plain",
        "text/vtt",
        "text/csv",
        "application/vcon+json",
    }


def test_these_are_the_formats_of_a_transcript(schema: dict[str, Any]) -> None:
    formats = ["json", "jsonl", "txt", "vtt", "csv", "openai", "vcon"]
    assert schema["components"]["schemas"]["Format"]["enum"] == formats
