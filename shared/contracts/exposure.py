"""Whether others than this machine could use a key pair that isn't secret."""

import ipaddress
from collections.abc import Iterable
from typing import Final

# What is written in files that everybody can read: docker-compose.yml, and LiveKit's own `--dev` mode.
PUBLISHED_SECRETS: Final = frozenset({"local-secret-for-one-machine-only", "secret"})
# HS256's key must be as long as its digest (RFC 7518, section 3.2); LiveKit warns of shorter ones.
SHORTEST_SECRET: Final = 32

_MEND: Final = (
    "Make a pair of your own for the LiveKit server and for every service, such as"
    ' LIVEKIT_API_KEY="API$(openssl rand -hex 6)" LIVEKIT_API_SECRET="$(openssl rand -hex 32)", or let only'
    " this machine reach them (BIND_ADDRESS=127.0.0.1). Where LiveKit is reached at another address than that"
    " of LIVEKIT_URL, LIVEKIT_PUBLISHED_ON says so."
)


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach the address."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def why_exposed(secret: str, reached_at: Iterable[str]) -> str | None:
    """Say why LiveKit's secret is no protection where the server or the API is reached; None if it is one.

    With the secret anybody makes tokens for any room, and sends webhooks in LiveKit's name.
    """
    if secret in PUBLISHED_SECRETS:
        fault = "is a published one, which everybody knows"
    elif len(secret) < SHORTEST_SECRET:
        fault = f"has {len(secret)} characters, fewer than {SHORTEST_SECRET}: it can be guessed"
    else:
        return None
    others = [address for address in reached_at if not is_loopback(address)]
    if not others:
        return None
    return f"{fault}, and others than this machine may reach {' and '.join(others)}. {_MEND}"
