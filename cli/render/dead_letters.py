"""Show dead letters."""

from typing import Any

from rich.table import Table
from rich.text import Text

from devstack.log_console import make_console
from shared.platform.plain_text import one_line


def show_replayed(answer: Any) -> None:
    """Show how many letters there were by stream and reason, and how many were put back."""
    console = make_console()
    if not answer["dead_letters"]:
        console.print("no dead letters")
        return
    table = Table(title="dead letters", title_justify="left")
    for column in ("stream", "reason", "found", "put back"):
        table.add_column(column, justify="left" if column in ("stream", "reason") else "right")
    for kind in answer["dead_letters"]:
        names = Text(one_line(kind["stream"])), Text(one_line(kind["reason"]))
        table.add_row(*names, str(kind["found"]), str(kind["put_back"]))
    console.print(table)
