"""`rollcall erase`: ask for an erasure, and tell what was removed."""

from rich.text import Text

from cli.client.client import session_path
from cli.client.target import Target, print_json
from cli.render.show import fields
from devstack.log_console import make_console
from shared.platform.plain_text import one_line


async def run_erase(target: Target, session_id: str | None, identity: str | None, *, as_json: bool) -> int:
    """Erase the words of one session, or of one participant; the exit code. Raises `ApiError`."""
    async with target.open() as client:
        if session_id is not None:
            erased = await client.call("DELETE", f"{session_path(session_id)}/transcript")
        else:
            erased = await client.call("POST", "/v1/erasures", json={"participant_identity": identity})
    if as_json:
        print_json(erased)
        return 0
    console = make_console()
    fields(
        console,
        [
            ("sessions", str(len(erased["session_ids"]))),
            ("turns", f"{erased['turns']} in the database, {erased['stream_entries']} on their way to it"),
            ("dead letters", str(erased["dead_letters"]) if erased["dead_letters"] else None),
        ],
    )
    if erased["pending"]:
        where = one_line(", ".join(erased["pending"]))
        later = f"not reached yet: {where}. Rollcall erases there as soon as it can."
        console.print(Text(later, style="yellow"))
    return 0
