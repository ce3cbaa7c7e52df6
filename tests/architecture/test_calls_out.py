"""Every module that creates a client of another server is in the table of calls and their limits."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
TABLE: Final = ROOT / "docs" / "calls-out.md"
CLIENT: Final = re.compile(
    r"\b(ClientSession|AsyncClient|httpx\.(Client|get|post|request)|create_async_engine|asyncpg\.connect"
    r"|asyncio\.open_connection|create_connection|LiveKitAPI|Redis\.from_(url|pool)|OTLPSpanExporter|Celery|getaddrinfo"
    r"|urlopen|requests\.(get|post|Session))\(|\bMCPServerHTTP\b"
)
# These start or fetch the local stack's servers; the last one resolves our own addresses.
NOT_CALLS_OUT: Final = ("devstack/provision/", "shared/platform/http/listen.py")


def test_every_module_with_a_client_is_in_the_table() -> None:
    files = [
        file
        for top in ("services", "rollcall-agent", "shared", "cli", "devstack", "deploy")
        for file in (ROOT / top).rglob("*.py")
    ]
    callers = {
        str(file.relative_to(ROOT)) for file in files if CLIENT.search(file.read_text(encoding="utf-8"))
    }
    named = set(re.findall(r"`([\w/-]+\.py)`", TABLE.read_text(encoding="utf-8")))
    missing = {name for name in callers - named if not name.startswith(NOT_CALLS_OUT)}
    assert not missing, f"{sorted(missing)}: give each call a limit, and put it into {TABLE.name}"
    gone = {name for name in named if not name.startswith("tests/")} - callers
    assert not gone, f"{sorted(gone)} make no calls any more"
