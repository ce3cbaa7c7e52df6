"""What a check finds, and how checks are run: all at once, each under a limit."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

_HIDDEN: Final = "•••"
# Whatever else slips into an error's text.
_TOKENS: Final = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*|(?<=://)[^/@\s]*:[^/@\s]+(?=@)")


class Status(StrEnum):
    """How a check came out."""

    PASS = "pass"  # noqa: S105
    WARN = "warn"  # sessions get their agent, but something is to be known or done
    FAIL = "fail"
    SKIP = "skip"  # could not be asked, because of another finding


@dataclass(frozen=True)
class Finding:
    """What was seen, and what to do about it."""

    check: str
    status: Status
    evidence: str
    fix: str | None = None


def passed(check: str, evidence: str) -> Finding:
    """All is well."""
    return Finding(check, Status.PASS, evidence)


def warned(check: str, evidence: str, fix: str) -> Finding:
    """Something is to be known."""
    return Finding(check, Status.WARN, evidence, fix)


def failed(check: str, evidence: str, fix: str) -> Finding:
    """Sessions will fail, or lose something."""
    return Finding(check, Status.FAIL, evidence, fix)


def skipped(check: str, evidence: str) -> Finding:
    """It could not be asked."""
    return Finding(check, Status.SKIP, evidence)


Check = Callable[[], Awaitable[Sequence[Finding]]]


async def run_checks(
    checks: Mapping[str, Check], *, limit_s: float, secrets: Collection[str] = ()
) -> list[Finding]:
    """Run all checks at once and return their findings in the checks' order, without a secret in them."""
    found = await asyncio.gather(*(_limited(name, check, limit_s) for name, check in checks.items()))
    return [_without_secrets(finding, secrets) for findings in found for finding in findings]


async def _limited(name: str, check: Check, limit_s: float) -> Sequence[Finding]:
    began = time.monotonic()
    task = asyncio.ensure_future(check())
    # Not awaited beyond its limit, not even while it is being cancelled: a thread can't be.
    await asyncio.wait([task], timeout=limit_s)
    if not task.done():
        task.cancel()
        waited = time.monotonic() - began
        return [failed(name, f"no answer in {waited:.0f} s", "look for a firewall or a frozen server")]
    if (error := task.exception()) is not None:
        text = f"{type(error).__name__}: {error}"
        return [failed(name, text, "this is not foreseen; please report it with this line")]
    return task.result()


def _without_secrets(finding: Finding, secrets: Collection[str]) -> Finding:
    fix = None if finding.fix is None else hide(finding.fix, secrets)
    return replace(finding, evidence=hide(finding.evidence, secrets), fix=fix)


def hide(text: str, secrets: Collection[str]) -> str:
    """The text without any of these secrets, without tokens, and without passwords in addresses."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    return _TOKENS.sub(_HIDDEN, text)
