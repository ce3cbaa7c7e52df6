"""Values that the shell offers for an option. They take one short request to the API, or none."""

from typing import Final

import typer

from cli.client.target import DEFAULT_STATE, Target
from shared.platform.plain_text import one_line

TIMEOUT_S: Final = 1.0
OFFERED: Final = 50
FORMATS: Final = ("jsonl", "txt", "vtt", "csv", "openai", "vcon", "json")
ROLES: Final = ("user", "assistant", "tool")


def session_ids(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the newest sessions, each with its status; none if the API doesn't answer at once."""
    import httpx

    target = Target.of(ctx.params.get("api"), ctx.params.get("key"), ctx.params.get("state") or DEFAULT_STATE)
    headers = {"Authorization": f"Bearer {target.key}"} if target.key else {}
    try:
        answer = httpx.get(
            f"{target.url}/v1/sessions", params={"limit": OFFERED}, headers=headers, timeout=TIMEOUT_S
        )
        sessions = answer.json()["sessions"]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError):
        return []
    return [
        (one["session_id"], one_line(f"{one['status']}, {one['agent_name']}, {one['room_name']}"))
        for one in sessions
        if one["session_id"].startswith(incomplete)
    ]


def formats(incomplete: str) -> list[str]:
    """Return the formats of a transcript."""
    return [name for name in FORMATS if name.startswith(incomplete)]


def roles(incomplete: str) -> list[str]:
    """Return the roles in a transcript."""
    return [name for name in ROLES if name.startswith(incomplete)]
