"""How `rollcall webhooks` shows endpoints and deliveries; each function takes the API's answer."""

from typing import Any

from rich.text import Text

from cli.render.show import fields, local, local_short, plain_table, zone
from devstack.log_console import make_console
from shared.platform.plain_text import one_line


def show_endpoints(answer: dict[str, Any]) -> None:
    """A row for each endpoint."""
    endpoints = answer["endpoints"]
    if not endpoints:
        make_console().print(Text("no webhook endpoints: `rollcall webhooks add URL` adds one", style="dim"))
        return
    table = plain_table("endpoint", "state", "events")
    for each in endpoints:
        where = Text(f"{each['id']}\n")
        where.append(one_line(each["url"]), style="dim")
        events = "\n".join(map(one_line, each["events"]))
        table.add_row(where, _state_of(each), Text(events))
    make_console().print(table)


def show_endpoint(endpoint: dict[str, Any]) -> None:
    """Everything that a person would ask of one endpoint."""
    fields(
        make_console(),
        [
            ("endpoint", endpoint["id"]),
            ("url", one_line(endpoint["url"])),
            ("for", one_line(endpoint["description"] or "")),
            ("state", _state_of(endpoint)),
            ("events", one_line(", ".join(endpoint["events"]))),
            ("at least", one_line(endpoint["min_severity"])),
            ("added", local(endpoint["created_at"])),
        ],
    )


def show_created(endpoint: dict[str, Any]) -> None:
    """A new endpoint with its secret."""
    show_secret(endpoint)
    show_endpoint(endpoint)


def show_secret(answer: dict[str, Any]) -> None:
    """A new secret, and until when the old one signs too."""
    console = make_console()
    console.print(Text(answer["secret"], style="bold green"), soft_wrap=True)
    console.print(Text("It is not shown again. The receiver checks signatures with it.", style="dim"))
    if until := answer.get("previous_secret_until"):
        fields(console, [("old secret", f"signs too until {local(until)}")])


def show_deliveries(answer: dict[str, Any]) -> None:
    """A row for each delivery."""
    found = answer["deliveries"]
    if not found:
        make_console().print(Text("no deliveries", style="dim"))
        return
    table = plain_table("event", f"at {zone()}", "status", "tries", "answer")
    for each in found:
        event = Text(f"{one_line(each['event_id'])}\n")
        event.append(one_line(each["event_type"]), style="dim")
        table.add_row(
            event,
            local_short(each["created_at"]),
            Text(one_line(each["status"]), style="bold red" if each["status"] == "dead" else ""),
            str(each["attempts"]),
            Text(_answer_of(each), overflow="fold"),
        )
    make_console().print(table)
    if answer["next_cursor"]:
        make_console().print(Text("there are more: --limit", style="dim"))


def show_delivery(delivery: dict[str, Any]) -> None:
    """One delivery that is on its way."""
    pairs = [
        ("event", delivery["event_id"]),
        ("type", delivery["event_type"]),
        ("status", delivery["status"]),
    ]
    fields(make_console(), [(name, one_line(value)) for name, value in pairs])


def show_replayed(answer: dict[str, Any]) -> None:
    """How many events are sent again."""
    make_console().print(f"{answer['deliveries']} events are sent again")


def _state_of(endpoint: dict[str, Any]) -> Text:
    if not endpoint["enabled"]:
        return Text(f"disabled: {one_line(endpoint['disabled_reason'] or '')}", style="yellow")
    if endpoint["failing_since"]:
        return Text(f"failing since {local_short(endpoint['failing_since'])}", style="bold red")
    return Text("enabled", style="green")


def _answer_of(delivery: dict[str, Any]) -> str:
    if delivery["error"]:
        return one_line(delivery["error"])
    if delivery["response_code"] is None:
        return ""
    return f"{delivery['response_code']} in {delivery['latency_ms']} ms"
