"""Only who holds our secret and the grant may call."""

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from livekit.agents.inference._utils import create_access_token
from pydantic import SecretStr

from services.inference.auth import Gatekeeper
from services.inference.request_refused import RequestRefused

KEY, SECRET = "devkey", "a-secret-of-thirty-two-characters"
gatekeeper = Gatekeeper(api_key=KEY, api_secret=SecretStr(SECRET))


def _token(*, secret: str = SECRET, **changes: Any) -> str:
    claims = {
        "iss": KEY,
        "exp": datetime.now(UTC) + timedelta(hours=1),
        "inference": {"perform": True},
    } | changes
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, secret, "HS256")


def _refused(header: str | None) -> str:
    with pytest.raises(RequestRefused) as refused:
        gatekeeper.check(header)
    assert refused.value.status == 401
    return refused.value.message


def test_the_clients_own_token_is_good() -> None:
    gatekeeper.check(f"Bearer {create_access_token(KEY, SECRET)}")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, "no bearer token"),
        ("Basic abc", "no bearer token"),
        ("Bearer nonsense", "invalid token"),
        (f"Bearer {jwt.encode({'iss': KEY}, '', 'none')}", "invalid token"),
    ],
)
def test_what_is_no_token_is_refused_with_its_reason(header: str | None, reason: str) -> None:
    assert reason in _refused(header)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"secret": "x" * 32}, "Signature verification failed"),
        ({"iss": "another"}, "Invalid issuer"),
        ({"iss": None}, '"iss"'),
        ({"exp": None}, '"exp"'),
        ({"exp": 0}, "expired"),
        ({"inference": None}, "inference.perform"),
        ({"inference": {"perform": "yes"}}, "inference.perform"),
    ],
)
def test_any_other_token_is_refused_with_its_reason(changes: dict[str, Any], reason: str) -> None:
    assert reason in _refused(f"Bearer {_token(**changes)}")
