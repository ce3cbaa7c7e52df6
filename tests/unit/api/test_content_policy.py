"""Where the console's page may connect to: the API, and LiveKit for calls."""

import pytest

from services.api.console.files import content_policy


@pytest.mark.parametrize(
    ("livekit_url", "sources"),
    [
        ("ws://127.0.0.1:7880", "'self' ws://127.0.0.1:7880 http://127.0.0.1:7880"),
        ("https://livekit.example.com", "'self' wss://livekit.example.com https://livekit.example.com"),
        ("wss://user:word@[::1]:7880/path", "'self' wss://[::1]:7880 https://[::1]:7880"),
        (
            "wss://mine.livekit.cloud",
            "'self' wss://mine.livekit.cloud https://mine.livekit.cloud"
            " wss://*.livekit.cloud https://*.livekit.cloud",
        ),
    ],
)
def test_a_page_connects_to_the_api_and_to_livekit_alone(livekit_url: str, sources: str) -> None:
    policy = dict(each.split(" ", 1) for each in content_policy(livekit_url).split("; "))
    assert policy["connect-src"] == sources
    assert policy["script-src"] == "'self'"
