"""What the API tells of its settings, and what it never tells."""

from typing import Any, Final

import pytest
from pydantic import ValidationError

from services.api.config.schemas import Config
from services.api.settings import ApiSettings

HIDDEN: Final = "a-secret-of-thirty-two-characters"
SEALS: Final = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I="


def settings(**changes: Any) -> ApiSettings:
    values: dict[str, Any] = {
        "livekit_url": "ws://127.0.0.1:7880",
        "livekit_api_key": "devkey-devkey",
        "livekit_api_secret": HIDDEN,
        **changes,
    }
    return ApiSettings(**values)


def test_no_secret_and_no_address_of_a_store_is_told() -> None:
    told = Config.of(
        settings(
            database_url=f"postgresql+asyncpg://rollcall:{HIDDEN}@db-host/rollcall",
            redis_url=f"redis://:{HIDDEN}@redis-host:6379/0",
            broker_url=f"amqp://rollcall:{HIDDEN}@broker-host//",
            otel_exporter_otlp_endpoint=f"https://rollcall:{HIDDEN}@otel-host",
            webhook_secrets_key=SEALS,
        ),
        auth="keys",
    ).model_dump_json()
    for hidden in (HIDDEN, SEALS, "devkey", "db-host", "redis-host", "broker-host", "otel-host"):
        assert hidden not in told
    assert '"tracing":true' in told
    assert '"webhook_secrets_sealed":true' in told


def test_what_is_set_is_told() -> None:
    told = Config.of(
        settings(
            livekit_agent_name="shop",
            livekit_public_url="wss://lk.example.com",
            transcript_store="metadata",
            grafana_url="https://grafana.example.com/d/rollcall",
            trace_url="https://tempo.example.com/trace/{trace_id}",
        ),
        auth="off",
    )
    assert (told.auth, told.agents.default_name) == ("off", "shop")
    assert told.links.livekit_url == "wss://lk.example.com"
    assert told.links.trace_url == "https://tempo.example.com/trace/{trace_id}"
    assert (told.features.text_stored, told.features.live_captions) == (False, False)


@pytest.mark.parametrize(
    "link", ["grafana", "ftp://grafana.example.com", "https://anna:word@grafana.example.com"]
)
def test_a_link_that_is_none_or_holds_a_password_is_refused(link: str) -> None:
    with pytest.raises(ValidationError, match="grafana_url"):
        settings(grafana_url=link)
