"""What agent workers and their jobs prove themselves with to the API: tokens signed with LiveKit's secret.

The dispatcher makes a token for each attempt and sends it with the dispatch. A worker makes one for itself,
from the key pair that it registers at LiveKit with. Both name an audience that LiveKit's own tokens lack, and
neither has a grant of LiveKit, so neither can be taken for the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import jwt
from pydantic import SecretStr

from shared.contracts.identifiers import SessionId
from shared.platform.clock import utc_now

ATTEMPT_AUDIENCE: Final = "rollcall/attempt"
WORKER_AUDIENCE: Final = "rollcall/worker"
# As long as a spool keeps turns that could not be sent (`shared.core.transcripts.erasure.MARKER_TTL`).
ATTEMPT_LIFETIME: Final = timedelta(days=31)
WORKER_LIFETIME: Final = timedelta(minutes=5)
_ALGORITHM: Final = "HS256"


class CredentialRefused(ValueError):
    """The token is forged, of another kind, or too old; the message says which."""


@dataclass(frozen=True)
class KeyPair:
    """LiveKit's API key and secret."""

    key: str
    secret: SecretStr

    def sign_attempt(self, session_id: str, attempt: int, *, now: datetime | None = None) -> str:
        """Return the credential of one attempt."""
        claims = {"sub": session_id, "attempt": attempt}
        return self._sign(claims, ATTEMPT_AUDIENCE, ATTEMPT_LIFETIME, now)

    def sign_worker(self, *, now: datetime | None = None) -> str:
        """Return the credential of a worker that has this key pair."""
        return self._sign({}, WORKER_AUDIENCE, WORKER_LIFETIME, now)

    def read_attempt(self, token: str) -> tuple[SessionId, int]:
        """Return the session and attempt of a credential. Raises `CredentialRefused`."""
        claims = self._read(token, ATTEMPT_AUDIENCE)
        attempt = claims.get("attempt")
        if not isinstance(attempt, int):
            raise CredentialRefused("the credential names no attempt")
        return SessionId(str(claims["sub"])), attempt

    def check_worker(self, token: str) -> None:
        """Raises `CredentialRefused` if this is not a worker's credential."""
        self._read(token, WORKER_AUDIENCE)

    def _sign(
        self, claims: Mapping[str, Any], audience: str, lifetime: timedelta, now: datetime | None
    ) -> str:
        begins = now or utc_now()
        named = {"iss": self.key, "aud": audience, "exp": begins + lifetime}
        return jwt.encode({**claims, **named}, self.secret.get_secret_value(), algorithm=_ALGORITHM)

    def _read(self, token: str, audience: str) -> dict[str, Any]:
        required = ["exp", "iss", "aud", *(["sub"] if audience == ATTEMPT_AUDIENCE else [])]
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self.secret.get_secret_value(),
                algorithms=[_ALGORITHM],
                audience=audience,
                issuer=self.key,
                options={"require": required},
                leeway=30,
            )
        except jwt.InvalidTokenError as refused:
            raise CredentialRefused(f"the credential is not valid: {refused}") from refused
        return claims
