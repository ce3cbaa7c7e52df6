"""`rollcall erase`."""

from typing import Annotated

import typer

from cli.client.target import DEFAULT_STATE, ApiUrl, AsJson, Key, State, Target, run
from cli.completion import session_ids


def erase(
    *,
    session: Annotated[
        str | None,
        typer.Argument(help="The session whose words are to be erased.", autocompletion=session_ids),
    ] = None,
    identity: Annotated[
        str | None, typer.Option(help="Erase the words of all sessions with this participant.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Erase without asking.")] = False,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Erase what was said in a session, or with a participant, for good. The session itself stays."""
    from cli.render.erasure import run_erase

    if (session is None) == (identity is None):
        raise typer.BadParameter("say either a session or --identity")
    what = f"in session {session}" if session else f"with {identity} in all sessions"
    if not yes:
        typer.confirm(
            f"Erase everything that was said {what}? Nobody can bring it back", abort=True, err=True
        )
    run(run_erase(Target.of(api, key, state), session, identity, as_json=as_json))
