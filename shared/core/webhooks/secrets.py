"""The secrets that sign webhooks: make them, and seal them for the database if a key is set.

Signing needs the secret itself, so it can't be hashed. Without WEBHOOK_SECRETS_KEY, secrets are stored
unsealed.
"""

import base64
import secrets
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

_PREFIX: Final = "whsec_"
_SEALED: Final = "fernet:"
_SECRET_BYTES: Final = 32


class UnreadableSecret(Exception):
    """A secret was sealed with a key that is not in the settings."""


def new_secret() -> str:
    """Return a new secret as Standard Webhooks writes it."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


class SecretBox:
    """Seals with the first key, and opens with any of them; raises `ValueError` for an invalid key."""

    def __init__(self, keys: SecretStr | None) -> None:
        parts = keys.get_secret_value().split(",") if keys is not None else []
        self._fernet = MultiFernet([Fernet(part.strip()) for part in parts]) if parts else None

    def seal(self, secret: str) -> str:
        """Return the secret in its stored form."""
        if self._fernet is None:
            return secret
        return _SEALED + self._fernet.encrypt(secret.encode()).decode()

    def open(self, stored: str) -> str:
        """Return the secret for signing; raises `UnreadableSecret`."""
        if not stored.startswith(_SEALED):
            return stored
        if self._fernet is None:
            raise UnreadableSecret("it is sealed, and WEBHOOK_SECRETS_KEY is not set")
        try:
            return self._fernet.decrypt(stored.removeprefix(_SEALED)).decode()
        except InvalidToken:
            raise UnreadableSecret("it was sealed with another WEBHOOK_SECRETS_KEY") from None
