"""Whether an API without keys may start where it is told to listen."""

from typing import Any

import pytest

from services.api.app import create_app
from services.api.auth.auth_mode import Auth, Exposed, decide_auth, warn_if_open
from services.api.settings import ApiSettings
from shared.contracts.exposure import is_loopback


def settings(**changes: Any) -> ApiSettings:
    livekit = {"livekit_url": "ws://x", "livekit_api_key": "k", "livekit_api_secret": "s" * 32}
    return ApiSettings(**{**livekit, **changes})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1", "[::1]"])
def test_on_this_machine_alone_no_key_is_asked_for(host: str) -> None:
    assert is_loopback(host)
    assert decide_auth(settings(api_host=host)) is Auth.OFF


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "api.example.com", ""])
def test_where_others_reach_it_somebody_has_to_decide(host: str) -> None:
    with pytest.raises(Exposed, match="API_AUTH=keys"):
        decide_auth(settings(api_host=host))
    with pytest.raises(Exposed):
        create_app(settings(api_host=host))
    assert decide_auth(settings(api_host=host, api_auth="keys")) is Auth.KEYS
    assert decide_auth(settings(api_host=host, api_auth="off")) is Auth.OFF


def test_what_counts_for_a_container_is_where_its_port_is_published() -> None:
    assert decide_auth(settings(api_host="0.0.0.0", api_published_on="127.0.0.1")) is Auth.OFF
    with pytest.raises(Exposed, match=r"192\.0\.2\.1"):
        decide_auth(settings(api_host="127.0.0.1", api_published_on="192.0.2.1"))


def test_that_no_key_is_asked_for_is_said_loudly() -> None:
    from structlog.testing import capture_logs

    with capture_logs() as logged:
        warn_if_open(Auth.OFF, settings())
        warn_if_open(Auth.KEYS, settings())
    [line] = logged
    assert line["log_level"] == "warning"
    assert line["event"] == "authentication_off"
    assert "authentication is OFF" in line["message"]
