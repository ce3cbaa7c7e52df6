"""`rollcall call`: talk to the agent, by sentences or by microphone."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from livekit import rtc
from rich.console import Console
from rich.text import Text

from cli.call.conversation import Outcome, hold_conversation
from cli.call.microphone import NoMicrophone, talk
from cli.call.voice import VoiceMissing
from cli.client.target import Target, complain, print_json
from cli.render.captions import CaptionConsole
from devstack.log_console import make_console


async def run_call(
    target: Target, sentences: list[str], *, microphone: bool, agent_name: str | None, as_json: bool
) -> int:
    """Hold a conversation. Return the exit code: 0 if the agent came and nothing broke off.

    Raises `ApiError`.
    """
    console = make_console()
    try:
        async with target.open() as client:
            with nullcontext() if as_json else CaptionConsole(console) as screen:
                ways: dict[str, Any] = {"show": _of(screen), "caption": screen and screen.caption}
                if microphone:
                    outcome = await talk(client, agent_name=agent_name, **ways)
                else:
                    outcome = await hold_conversation(client, sentences, agent_name=agent_name, **ways)
    except (rtc.ConnectError, VoiceMissing, NoMicrophone) as failure:
        complain(str(failure))
        return 1
    _tell(outcome, console, as_json=as_json)
    return 0 if outcome.joined and outcome.problem is None else 1


def _of(screen: CaptionConsole | None) -> Callable[[Text], None]:
    return screen.print if screen is not None else lambda _: None


def _tell(outcome: Outcome, console: Console, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "session_id": outcome.session_id,
                "joined": outcome.joined,
                "problem": outcome.problem,
                "complete": outcome.timeline.complete,
                "turns": [turn.model_dump(mode="json") for turn in outcome.timeline.turns],
                "answer_seconds": [round(seconds, 3) for seconds in outcome.answer_seconds],
            }
        )
        return
    if outcome.problem:
        complain(outcome.problem)
    console.print(Text(f"rollcall transcript {outcome.session_id}", style="dim"))
