"""`rollcall call` and `rollcall canary`."""

from typing import Annotated

import typer

from cli.client.target import DEFAULT_STATE, ApiUrl, AsJson, Key, State, Target, run

AgentName = Annotated[
    str | None, typer.Option("--agent-name", "--agent", help="The agent's name; default: the API's.")
]


def call(
    *,
    sentences: Annotated[list[str] | None, typer.Argument(help="What to say, sentence by sentence.")] = None,
    mic: Annotated[bool, typer.Option("--mic", help="Use the microphone; Ctrl-C hangs up.")] = False,
    agent: AgentName = None,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Call the agent, say the sentences or speak yourself, and show what happens and what is said."""
    if mic == bool(sentences):
        raise typer.BadParameter("give either sentences to say, or --mic")
    from cli.call.call import run_call

    target = Target.of(api, key, state)
    run(run_call(target, sentences or [], microphone=mic, agent_name=agent, as_json=as_json))


def canary(
    *,
    agent_name: AgentName = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for the verdict.")] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print only the verdict, as JSON.")] = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Start a session without a caller, and say whether its agent gets ready; exit code 1 if not."""
    run(play_canary(Target.of(api, key, state), agent_name, timeout, as_json=as_json))


async def play_canary(target: Target, agent_name: str | None, timeout_s: float, *, as_json: bool) -> int:
    """Start a session without a caller, print what becomes of it, and return the exit code."""
    from rich.text import Text

    from cli.call.canary import run_canary
    from devstack.log_console import make_console

    console = make_console()

    def show(line: Text) -> None:
        if not as_json:
            console.print(line)

    async with target.open() as client:
        verdict = await run_canary(client, agent_name=agent_name, timeout_s=timeout_s, show=show)
    show(verdict.as_text())
    if as_json:
        typer.echo(verdict.as_json())
    return 0 if verdict.ok else 1
