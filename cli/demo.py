"""`rollcall demo`: start the whole stack, and show a call to it."""

import asyncio
import time
from pathlib import Path
from typing import Final

from livekit import rtc
from rich.console import Console
from rich.text import Text

from cli.call.conversation import Outcome, hold_conversation
from cli.call.voice import VoiceMissing
from cli.client.client import ApiError, open_client
from cli.interrupt import EXIT_INTERRUPTED
from cli.up import OPEN_TO_ALL, console_line, run_with_stack
from devstack.log_console import WARNING, LogConsole, make_console
from devstack.stack import Stack

# No commas: silence ends a turn, and the pause of a comma can be long enough.
SENTENCES: Final = (
    "Hello my name is Alice.",
    "What are your opening hours?",
    "What is seven plus five?",
    "Do you remember my name?",
    "Thank you and goodbye.",
)
HIGHEST_WORD_ERROR: Final = 0.2


def run_demo(state: Path, *, once: bool) -> int:
    """Run the demo. Return the exit code: 0 if the call succeeded, or the user ended it."""
    console = make_console()
    # LiveKit warns about every caller that hangs up; its log has all lines.
    screen = LogConsole(console, level=WARNING, muted={"livekit"}, longest=160)
    stack = Stack(state, fixed_ports=True, cwd=Path.cwd(), tell=screen.tell, notify=screen.notify)

    async def work() -> int:
        started = time.monotonic()
        screen.tell("starting Redis, LiveKit and the services")
        stack.logs.mkdir(parents=True, exist_ok=True)
        async with screen.following(stack.logs), stack:
            screen.tell(f"ready after {time.monotonic() - started:.1f} s; logs in {stack.logs}")
            verdict = await _call(stack, console)
            console.print(
                Text(f"\n{verdict or 'The call went as it should.'}", style="red" if verdict else "green")
            )
            if once:
                return 1 if verdict else 0
            console.print(Text(_what_now(stack), style="bold"))
            if not stack.asks_for_keys:
                console.print(Text(OPEN_TO_ALL, style="bold yellow"))
            console.print(console_line(stack))
            await asyncio.Event().wait()
        return 0

    code = run_with_stack(work(), stack=stack, screen=screen)
    return 0 if code == EXIT_INTERRUPTED and not once else code


async def _call(stack: Stack, console: Console) -> str | None:
    """Hold the conversation; return what went wrong, or None."""
    console.print(
        Text("\nA synthetic caller asks for a session. Milliseconds since the request:", style="bold")
    )
    try:
        async with open_client(stack.api_url) as client:
            outcome = await hold_conversation(client, SENTENCES, show=console.print)
    except (ApiError, rtc.ConnectError, VoiceMissing) as failure:
        return str(failure)
    console.print(Text(_summary(outcome), style="bold"))
    return judge(outcome)


def judge(outcome: Outcome) -> str | None:
    """Return what is wrong with a call; None if nothing is."""
    if not outcome.joined:
        return f"The agent did not join: {_last_step(outcome)}"
    if outcome.problem:
        return f"The conversation broke off: {outcome.problem}"
    answers = outcome.turns_of("assistant")
    if len(answers) < len(outcome.spoken):
        return f"Only {len(answers)} of the agent's answers are in the database."
    if outcome.word_error > HIGHEST_WORD_ERROR:
        return f"{outcome.word_error:.0%} of the caller's words are wrong in the database."
    return None


def _last_step(outcome: Outcome) -> str:
    events = outcome.timeline.events
    return f"the last event is {events[-1].type} {events[-1].data}" if events else "there is no event"


def _summary(outcome: Outcome) -> str:
    caller, agent = outcome.turns_of("user"), outcome.turns_of("assistant")
    waits = sorted(outcome.answer_seconds)
    answered = f"; answers began after {waits[len(waits) // 2]:.1f} s (median)" if waits else ""
    complete = {True: "complete", False: "incomplete", None: "not closed yet"}[outcome.timeline.complete]
    return (
        f"\nIn the database: {len(caller)} turns of the caller, {len(agent)} of the agent;"
        f" transcript {complete}."
        f"\nWord error of the caller's words: {outcome.word_error:.0%}{answered}."
    )


def _what_now(stack: Stack) -> str:
    return (
        f"\nEverything keeps running. Now you can\n"
        f"  read the API's documentation   {stack.api_url}/docs\n"
        f'  talk to the agent              .venv/bin/rollcall call "What are your opening hours?"\n'
        f"  see why a session would fail   {stack.api_url}/health/agent\n"
        f"  read the logs                  {stack.logs}\n"
        f"  stop                           Ctrl-C\n"
    )
