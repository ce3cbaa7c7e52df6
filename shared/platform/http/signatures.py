"""Sign what is sent to an address of a user's, as Standard Webhooks specifies."""

import base64
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from standardwebhooks import Webhook

_PREFIX: Final = "whsec_"


def is_signing_secret(secret: str) -> bool:
    """Return whether this is a secret of Standard Webhooks: `whsec_` and base64."""
    try:
        return secret.startswith(_PREFIX) and bool(base64.b64decode(secret.removeprefix(_PREFIX) + "=="))
    except ValueError:
        return False


def signature_headers(body: str, *, message_id: str, secrets: Iterable[str], now: datetime) -> dict[str, str]:
    """Return the headers, with a signature by each secret, so that a receiver may know either secret."""
    signatures = [Webhook(secret).sign(message_id, now, body) for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
