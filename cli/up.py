"""`rollcall up`: run the whole stack on this machine until Ctrl-C."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from rich.text import Text

from cli.interrupt import EXIT_INTERRUPTED, run_until_interrupted
from devstack.log_console import INFO, LogConsole, make_console
from devstack.process import StartFailed
from devstack.provision.server import ProvisionError
from devstack.stack import Stack

EXIT_FAILED = 1

OPEN_TO_ALL = (
    "Authentication is OFF: whoever reaches the API may do everything. That is for this machine alone;"
    "\nAPI_AUTH=keys turns it on, `rollcall keys create NAME` makes a key."
)


def run_up(state: Path, *, agents: int) -> int:
    """Run the stack until interrupted; return the exit code."""
    console = make_console()
    screen = LogConsole(console, level=INFO)
    stack = Stack(
        state,
        replicas={"agent": agents},
        fixed_ports=True,
        cwd=Path.cwd(),
        tell=screen.tell,
        notify=screen.notify,
    )

    async def work() -> int:
        stack.logs.mkdir(parents=True, exist_ok=True)
        async with screen.following(stack.logs), stack:
            console.print(Text(_welcome(stack), style="bold green"))
            if not stack.asks_for_keys:
                console.print(Text(OPEN_TO_ALL, style="bold yellow"))
            console.print(console_line(stack))
            await asyncio.Event().wait()
        return 0

    code = run_with_stack(work(), stack=stack, screen=screen)
    return 0 if code == EXIT_INTERRUPTED else code


def run_with_stack(work: Coroutine[Any, Any, int], *, stack: Stack, screen: LogConsole) -> int:
    """Run what starts a stack and works with it; returns its exit code, or that of an interruption."""
    try:
        return run_until_interrupted(
            work, hurry=stack.kill, said=lambda: screen.tell("stopping; Ctrl-C again to kill at once")
        )
    except (ProvisionError, StartFailed) as failure:
        screen.tell_failure(str(failure))
        return EXIT_FAILED


def console_line(stack: Stack) -> Text:
    """Return the last lines of a start: where to talk to the agent, and where to look at sessions."""
    return Text(
        f"\nTalk to the agent in your browser:           {stack.api_url}/console/talk"
        f"\nSee every session, and why one has no agent: {stack.api_url}/console/",
        style="bold green",
    )


def _welcome(stack: Stack) -> str:
    return (
        f"\nReady.\n"
        f"  API and its documentation   {stack.api_url}/docs\n"
        f"  would a session get an agent {stack.api_url}/health/agent\n"
        f"  LiveKit                     {stack.livekit_url}\n"
        f'  talk to the agent           rollcall call "What are your opening hours?"\n'
        f"  logs                        {stack.logs}\n"
        f"  stop                        Ctrl-C\n"
    )
