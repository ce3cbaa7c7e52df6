"""The command `rollcall doctor`."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.client.target import DEFAULT_STATE, ApiUrl, AsJson, Key, State, complain
from shared.platform.plain_text import plain_json

if TYPE_CHECKING:
    from rich.console import Console

    from cli.doctor.findings import Finding


def doctor(
    *,
    env_file: Annotated[
        Path | None,
        typer.Option(help="Use only the variables in this file.", exists=True, dir_okay=False),
    ] = None,
    webhook_url: Annotated[
        str | None, typer.Option(help="Where LiveKit sends its webhooks; default: the API's own address.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, max=60, help="Seconds for each check.")] = 8.0,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Check everything that a session needs. Each fault comes with its fix; exit code 1 on a fault."""
    import asyncio

    from cli.doctor.examine import examine
    from devstack.log_console import make_console

    console = make_console()
    work = examine(api, key, state, env_file=env_file, webhook_url=webhook_url, limit_s=timeout)
    # Not asyncio.run, which waits for threads: one may hang in a name lookup.
    loop = asyncio.new_event_loop()
    try:
        if as_json:
            findings = loop.run_until_complete(work)
        else:
            with console.status("running all checks at once"):
                findings = loop.run_until_complete(work)
    except OSError as error:
        complain(str(error))
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(_as_json(findings))
    else:
        show(findings, console)
    _leave(1 if any(finding.status == "fail" for finding in findings) else 0)


def show(findings: Sequence["Finding"], console: "Console") -> None:
    """Print a line for each finding, what to do below it, and the counts."""
    from collections import Counter

    from rich.table import Table
    from rich.text import Text

    styles = {"pass": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}
    table = Table.grid(padding=(0, 2, 0, 0))
    for no_wrap in (True, True, False):
        table.add_column(no_wrap=no_wrap, overflow="fold")
    for finding in findings:
        text = Text(finding.evidence)
        if finding.fix:
            text.append(f"\n{finding.fix}", style="yellow")
        table.add_row(Text(finding.status, style=styles[finding.status]), finding.check, text)
    console.print(table, soft_wrap=False)
    counts = Counter(str(finding.status) for finding in findings)
    told = [f"{counts[name]} {word}" for name, word in _COUNTED.items() if counts[name]]
    console.print(Text("\n" + ", ".join(told), style="red" if counts["fail"] else "green"))


_COUNTED = {"fail": "failed", "warn": "to know", "skip": "not asked", "pass": "passed"}


def _as_json(findings: Sequence["Finding"]) -> str:
    checks = [
        {"check": one.check, "status": one.status, "evidence": one.evidence, "fix": one.fix}
        for one in findings
    ]
    ok = not any(one.status == "fail" for one in findings)
    return plain_json({"ok": ok, "checks": checks}, indent=2)


def _leave(code: int) -> None:
    """End the process at once, even if a thread still waits."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
