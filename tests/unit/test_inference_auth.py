"""Only who holds our secret and the grant may call."""

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from livekit.agents.inference._utils import create_access_token
from pydantic import SecretStr

from services.inference.auth import Gatekeeper
from services.inference.refusal import Refusal

KEY, SECRET = "devkey", "a-secret-of-thirty-two-characters"
gatekeeper = Gatekeeper(api_key=KEY, api_secret=SecretStr(SECRET))


def _token(*, secret: str = SECRET, **changes: Any) -> str:
    claims = {
        "iss": KEY,
        "exp": datetime.now(UTC) + timedelta(hours=1),
        "inference": {"perform": True},
    } | changes
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, secret, "HS256")


def test_the_clients_own_token_is_good() -> None:
    gatekeeper.check(f"Bearer {create_access_token(KEY, SECRET)}")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, "no bearer token"),
        ("Basic abc", "no bearer token"),
        ("Bearer nonsense", "invalid token"),
        (f"Bearer {_token(secret='x' * 32)}", "Signature verification failed"),
        (f"Bearer {_token(iss='another')}", "Invalid issuer"),
        (f"Bearer {_token(iss=None)}", '"iss"'),
        (f"Bearer {_token(exp=None)}", '"exp"'),
        (f"Bearer {_token(exp=datetime.now(UTC) - timedelta(minutes=1))}", "expired"),
        (f"Bearer {_token(inference=None)}", "inference.perform"),
        (f"Bearer {_token(inference={'perform': 'yes'})}", "inference.perform"),
        (f"Bearer {jwt.encode({'iss': KEY}, None, 'none')}", "invalid token"),
    ],
)
def test_any_other_is_refused_with_its_reason(header: str | None, reason: str) -> None:
    with pytest.raises(Refusal) as refused:
        gatekeeper.check(header)
    assert refused.value.status == 401
    assert reason in refused.value.message
