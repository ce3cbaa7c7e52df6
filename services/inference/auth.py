"""Admit callers whose token is signed with our API secret and has the inference grant."""

import jwt
from pydantic import SecretStr

from services.inference.request_refused import RequestRefused

CLOCK_LEEWAY_S = 10  # hosts of one deployment seldom differ by more


class Gatekeeper:
    """Checks the bearer token that livekit-agents signs for each connection."""

    def __init__(self, *, api_key: str, api_secret: SecretStr) -> None:
        self._api_key = api_key
        self._api_secret = api_secret

    def check(self, authorization: str | None) -> None:
        """Return if the `Authorization` header is valid.

        Raise `RequestRefused` 401 with the reason if not.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _unauthorized("no bearer token")
        try:
            claims = jwt.decode(
                token,
                self._api_secret.get_secret_value(),
                algorithms=["HS256"],
                issuer=self._api_key,
                leeway=CLOCK_LEEWAY_S,
                options={"require": ["exp", "iss"]},
            )
        except jwt.InvalidTokenError as invalid:
            raise _unauthorized(f"invalid token: {invalid}") from None
        grant = claims.get("inference")
        if not isinstance(grant, dict) or grant.get("perform") is not True:
            raise _unauthorized("the token lacks the grant inference.perform")


def _unauthorized(reason: str) -> RequestRefused:
    return RequestRefused(
        401,
        "unauthorized",
        f"{reason}; check LIVEKIT_API_KEY, LIVEKIT_API_SECRET and the clock of the caller",
    )
