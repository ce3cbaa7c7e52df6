"""Show the audit trail."""

from typing import Any

from rich.text import Text

from cli.render.show import local_short, plain_table, zone
from devstack.log_console import make_console
from shared.platform.plain_text import one_line

_VIA = {"api": "API", "console": "console", "command_line": "command line"}


def show_audit(answer: dict[str, Any]) -> None:
    """A row for each act, the newest first."""
    console = make_console()
    if not answer["entries"]:
        console.print(Text("nothing: no act matches", style="dim"))
        return
    table = plain_table(f"when ({zone()})", "who", "by", "did", "to")
    for each in answer["entries"]:
        who = Text(one_line(each["key_name"] or each["actor"] or "anybody"))
        if each["key_name"]:
            who.append(f"\n{one_line(each['actor'])}", style="dim")
        via = Text(_VIA.get(each["via"], one_line(each["via"])))
        did = Text(one_line(each["action"])), Text(one_line(each["target"] or ""))
        table.add_row(local_short(each["at"]), who, via, *did)
    console.print(table)
