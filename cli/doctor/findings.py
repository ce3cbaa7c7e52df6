"""Findings of checks. All checks run at the same time, each with a time limit."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

_HIDDEN: Final = "•••"
# Other secrets that an error's text may contain.
_TOKENS: Final = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*|(?<=://)[^/@\s]*:[^/@\s]+(?=@)")


class Status(StrEnum):
    """The result of a check."""

    PASS = "pass"  # noqa: S105
    WARN = "warn"  # sessions get their agent, but the operator should know or do something
    FAIL = "fail"
    SKIP = "skip"  # could not run, because of another finding


@dataclass(frozen=True)
class Finding:
    """What a check saw, and what to do about it."""

    check: str
    status: Status
    evidence: str
    fix: str | None = None


def passed(check: str, evidence: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(check, Status.PASS, evidence)


def warned(check: str, evidence: str, fix: str) -> Finding:
    """Return a finding that the operator should know."""
    return Finding(check, Status.WARN, evidence, fix)


def failed(check: str, evidence: str, fix: str) -> Finding:
    """Return a finding that sessions will fail or lose data."""
    return Finding(check, Status.FAIL, evidence, fix)


def skipped(check: str, evidence: str) -> Finding:
    """Return a finding that the check could not run."""
    return Finding(check, Status.SKIP, evidence)


Check = Callable[[], Awaitable[Sequence[Finding]]]


async def run_checks(
    checks: Mapping[str, Check], *, limit_s: float, secrets: Collection[str] = ()
) -> list[Finding]:
    """Run all checks at once; return their findings in the order of the checks, without any secret."""
    found = await asyncio.gather(*(_limited(name, check, limit_s) for name, check in checks.items()))
    return [_without_secrets(finding, secrets) for findings in found for finding in findings]


async def _limited(name: str, check: Check, limit_s: float) -> Sequence[Finding]:
    began = time.monotonic()
    task = asyncio.ensure_future(check())
    # Not awaited beyond its limit, even after a cancellation: a thread can't be cancelled.
    await asyncio.wait([task], timeout=limit_s)
    if not task.done():
        task.cancel()
        waited = time.monotonic() - began
        return [failed(name, f"no answer in {waited:.0f} s", "look for a firewall or a frozen server")]
    if (error := task.exception()) is not None:
        text = f"{type(error).__name__}: {error}"
        return [failed(name, text, "this error is unexpected; please report it with this line")]
    return task.result()


def _without_secrets(finding: Finding, secrets: Collection[str]) -> Finding:
    fix = None if finding.fix is None else hide(finding.fix, secrets)
    return replace(finding, evidence=hide(finding.evidence, secrets), fix=fix)


def hide(text: str, secrets: Collection[str]) -> str:
    """Return the text without these secrets, without tokens, and without passwords in addresses."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    return _TOKENS.sub(_HIDDEN, text)
