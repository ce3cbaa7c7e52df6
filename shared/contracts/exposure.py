"""Find out whether other machines could use a key pair that is not secret."""

import ipaddress
from collections.abc import Iterable
from typing import Final

# Secrets that everybody can read: in docker-compose.yml, and in LiveKit's own `--dev` mode.
PUBLISHED_SECRETS: Final = frozenset({"local-secret-for-one-machine-only", "secret"})
# A key for HS256 must be as long as its digest (RFC 7518, section 3.2); LiveKit warns about shorter ones.
SHORTEST_SECRET: Final = 32

_MEND: Final = (
    "Make a pair of your own for the LiveKit server and for every service, such as"
    ' LIVEKIT_API_KEY="API$(openssl rand -hex 6)" LIVEKIT_API_SECRET="$(openssl rand -hex 32)", or let only'
    " this machine reach them (BIND_ADDRESS=127.0.0.1). Where LiveKit is reached at another address than that"
    " of LIVEKIT_URL, LIVEKIT_PUBLISHED_ON says so."
)


def is_loopback(address: str) -> bool:
    """Return whether only this machine can reach the address."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def why_exposed(secret: str, reached_at: Iterable[str]) -> str | None:
    """Return why LiveKit's secret does not protect the server and the API at their addresses.

    None if it does. Anybody with the secret can make tokens for any room, and send webhooks in LiveKit's
    name.
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
