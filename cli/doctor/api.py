"""Check the API: whether it answers, its version, and its forecast for the next session."""

from collections.abc import Sequence
from typing import Any, Final

import httpx

from cli.client.target import Target
from cli.doctor.findings import Finding, failed, passed, skipped, warned
from cli.render.show import local
from shared.platform.process import rollcall_version

NAME: Final = "api"
OUTLOOK: Final = "next session"
TIMEOUT_S: Final = 7.0


async def check_api(target: Target) -> Sequence[Finding]:
    """Check the API's health."""
    headers = {"Authorization": f"Bearer {target.key}"} if target.key else {}
    try:
        async with httpx.AsyncClient(base_url=target.url, headers=headers, timeout=TIMEOUT_S) as http:
            ready = await http.get("/readyz")
            described = await http.get("/openapi.json")
            outlook = await http.get("/health/agent")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = f"{target.url} does not answer: {error or type(error).__name__}"
        fix = "start python -m services.api, or say where it is: --api or ROLLCALL_URL"
        return [
            failed(NAME, why, fix),
            skipped(OUTLOOK, "only the API knows the outcomes of recent sessions"),
        ]
    return [_ready(target.url, ready, _version(described)), *_outlook(outlook)]


def _version(described: httpx.Response) -> str | None:
    info = _body(described).get("info")
    return str(info.get("version")) if isinstance(info, dict) else None


def _ready(url: str, ready: httpx.Response, theirs: str | None) -> Finding:
    body = _body(ready)
    if ready.status_code not in (200, 503) or "status" not in body:
        return failed(
            NAME, f"{url} answers {ready.status_code}, which is not Rollcall's answer", "correct ROLLCALL_URL"
        )
    if ready.status_code == 503:
        return failed(NAME, f"{url} can accept no session: {body.get('output')}", "see the check database")
    ours = rollcall_version()
    if theirs and theirs != ours:
        fix = "install the same version here, or roll the API forward"
        return warned(NAME, f"{url} is version {theirs}; this is {ours}", fix)
    return passed(NAME, f"{url}, version {theirs or 'unknown'}")


def _outlook(answer: httpx.Response) -> list[Finding]:
    body = _body(answer)
    if answer.status_code in (401, 403):
        return [skipped(OUTLOOK, f"the API answers {answer.status_code}: give a key with --key")]
    if "root_cause" not in body:
        return [skipped(OUTLOOK, f"/health/agent answers {answer.status_code}")]
    found = []
    for root in body["root_cause"]:
        tell = failed if root.get("fatal", True) else warned
        facts = ", ".join(f"{name} {value}" for name, value in root["evidence"].items())
        found.append(tell(OUTLOOK, f"{root['code']}: {facts}", root["fix"]))
    for one in body.get("findings", ()):
        facts = ", ".join(f"{name} {value}" for name, value in one["evidence"].items())
        found.append(warned(OUTLOOK, f"{one['code']}: {facts}", one["fix"]))
    last = body.get("last_proven_join")
    return found or [passed(OUTLOOK, f"would get its agent; last proven join: {local(last) or 'none yet'}")]


def _body(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
