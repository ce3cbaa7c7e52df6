"""Check whether each service would start with these variables."""

import asyncio
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any, Final

from cli.doctor.findings import Finding, failed, passed, warned
from cli.doctor.surroundings import Surroundings
from devstack.services import ALL_SERVICES, REPOSITORY

NAME: Final = "environment"
# Known variables that are in no settings class.
_OTHERS: Final = frozenset({"LIVEKIT_SERVER", "ROLLCALL_URL", "ROLLCALL_API_KEY"})


class SettingsProbe:
    """Reads the services' settings once, in a separate process, for all checks that need them."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._reading: asyncio.Task[dict[str, Any]] | None = None

    async def read(self) -> dict[str, Any]:
        """Return what `cli.doctor.settings_probe` found."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        return await asyncio.shield(self._reading)

    async def _read(self) -> dict[str, Any]:
        # The stand-in for LiveKit Inference runs only in a local stack, which configures it itself.
        services = [name for name in ALL_SERVICES if name != "inference"]
        with tempfile.TemporaryDirectory() as folder:  # a folder without a .env
            process = await asyncio.create_subprocess_exec(
                *[sys.executable, "-m", "cli.doctor.settings_probe", *services],
                env=self._surroundings.for_a_process(REPOSITORY),
                cwd=folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, errors = await process.communicate()
        if process.returncode != 0:
            last = errors.decode(errors="replace").strip().splitlines()[-1:]
            raise RuntimeError(f"the services' settings can't be read: {''.join(last)}")
        found: dict[str, Any] = json.loads(out)
        return found


async def check_environment(surroundings: Surroundings, probe: SettingsProbe) -> Sequence[Finding]:
    """Return a finding for every missing or malformed variable, and for names that are probably misspelt."""
    found = await probe.read()
    findings = [*_faults(found["faults"]), *_misspelt(surroundings, found["variables"])]
    known = sorted(set(found["variables"]) & set(surroundings.env))
    if not any(finding.status == "fail" for finding in findings):
        findings.insert(0, passed(NAME, f"{surroundings.source}: {len(known)} variables, all well-formed"))
    return findings


def _faults(faults: Sequence[dict[str, str]]) -> list[Finding]:
    services: dict[tuple[str, str], list[str]] = defaultdict(list)
    for fault in faults:
        services[fault["variable"], fault["problem"]].append(fault["service"])
    return [
        failed(
            NAME,
            f"{variable} is {problem} ({', '.join(sorted(set(whose)))})",
            f"set {variable} in the environment or in .env; .env.example explains it",
        )
        for (variable, problem), whose in services.items()
    ]


def _misspelt(surroundings: Surroundings, variables: Collection[str]) -> list[Finding]:
    known = {*variables, *_OTHERS}
    return [
        warned(NAME, f"{name} is not a variable of any service", f"did you mean {nearest[0]}?")
        for name in sorted(surroundings.named - known)
        if (nearest := get_close_matches(name, known, n=1, cutoff=0.85))
    ]
