"""Look for secrets in all logs of a stack's processes."""

import re
from collections.abc import Iterable

from devstack.stack import Stack

# Any JWT, which must never be in a log, and our keys.
_PATTERNS = (
    re.compile(r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+"),
    re.compile(r"rollcall_[sp]k_[A-Za-z0-9]{12}_[A-Za-z0-9]{43}"),
)


def leaks_in(stack: Stack, secrets: Iterable[str]) -> list[str]:
    """Return each process that logged a secret, with the beginning of the secret; empty if none did."""
    found = []
    for process in stack.processes():
        text = process.log()
        # LiveKit's server logs a token that it refuses, which is harmless.
        patterns = () if process.spec.name == "livekit" else _PATTERNS
        hits = {hit for pattern in patterns for hit in pattern.findall(text)}
        hits |= {secret for secret in secrets if secret in text}
        found += [f"{process.spec.name}: {hit[:16]}…" for hit in sorted(hits)]
    return found
