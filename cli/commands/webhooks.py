"""`rollcall webhooks`: the endpoints that get a project's events, and what became of the deliveries."""

from collections.abc import Coroutine
from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer

from cli.client.target import DEFAULT_STATE, ApiUrl, AsJson, Key, State, Target, run

app = typer.Typer(help="Webhook endpoints: add, test and remove them; see and repeat deliveries.")

EndpointId = Annotated[str, typer.Argument(metavar="ID", help="The endpoint's id, as `list` shows it.")]


@app.command("list")
def list_(as_json: AsJson = False, api: ApiUrl = None, key: Key = None, state: State = DEFAULT_STATE) -> None:
    """List the endpoints, and how they fare."""
    from cli.render.webhooks import show_endpoints

    _show(Target.of(api, key, state), show_endpoints, "GET", "", as_json=as_json)


@app.command("add")
def add(
    *,
    url: Annotated[str, typer.Argument(help="Where to send the events: https://example.com/hooks")],
    event: Annotated[
        list[str] | None,
        typer.Option(help="session.failed.v1, agent.* or *; may be repeated. Default: all events."),
    ] = None,
    min_severity: Annotated[
        Literal["info", "warning", "critical"] | None,
        typer.Option(help="Only events that are at least as severe."),
    ] = None,
    description: Annotated[str | None, typer.Option(help="What the endpoint is for.")] = None,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Add an endpoint, and show the secret that signs its events. No other command shows it again."""
    from cli.render.webhooks import show_created

    wanted = {"url": url, "events": event, "min_severity": min_severity, "description": description}
    body = {name: value for name, value in wanted.items() if value}
    _show(Target.of(api, key, state), show_created, "POST", "", json=body, as_json=as_json)


@app.command("remove")
def remove(endpoint: EndpointId, api: ApiUrl = None, key: Key = None, state: State = DEFAULT_STATE) -> None:
    """Remove an endpoint with its deliveries."""
    run(_call(Target.of(api, key, state), "DELETE", _of(endpoint)))


@app.command("enable")
def enable(
    endpoint: EndpointId,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Enable an endpoint. Rollcall does not send it what happened in the meantime."""
    _switch(Target.of(api, key, state), endpoint, enabled=True, as_json=as_json)


@app.command("disable")
def disable(
    endpoint: EndpointId,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Disable an endpoint: Rollcall sends it nothing."""
    _switch(Target.of(api, key, state), endpoint, enabled=False, as_json=as_json)


@app.command("test")
def send_test(
    endpoint: EndpointId,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Send a test event; `deliveries` shows what became of it."""
    from cli.render.webhooks import show_delivery

    _show(Target.of(api, key, state), show_delivery, "POST", f"{_of(endpoint)}/test", as_json=as_json)


@app.command("rotate")
def rotate(
    *,
    endpoint: EndpointId,
    overlap_s: Annotated[int, typer.Option(help="Seconds in which the old secret signs too.")] = 86_400,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Make a new secret, and show it. No other command shows it again."""
    from cli.render.webhooks import show_secret

    path, body = f"{_of(endpoint)}/secret", {"overlap_s": overlap_s}
    _show(Target.of(api, key, state), show_secret, "POST", path, json=body, as_json=as_json)


@app.command("deliveries")
def deliveries(
    *,
    endpoint: EndpointId,
    status: Annotated[
        Literal["pending", "delivered", "dead"] | None, typer.Option(help="Only these; dead: given up.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most this many.")] = 20,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """List an endpoint's deliveries, the newest event first."""
    from cli.render.webhooks import show_deliveries

    params = {"limit": limit, **({"status": status} if status else {})}
    path = f"{_of(endpoint)}/deliveries"
    _show(Target.of(api, key, state), show_deliveries, "GET", path, params=params, as_json=as_json)


@app.command("replay")
def replay(
    *,
    endpoint: EndpointId,
    event: Annotated[str | None, typer.Option(help="The id of one event to send again.")] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Send everything again that was given up since then: 2026-11-23T12:00:00Z"),
    ] = None,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Send one event again, or every event that was given up."""
    from cli.render.webhooks import show_delivery, show_replayed

    target = Target.of(api, key, state)
    if (event is None) == (since is None):
        raise typer.BadParameter("say either --event or --since")
    if event is not None:
        path = f"{_of(endpoint)}/deliveries/{quote(event, safe='')}/replay"
        _show(target, show_delivery, "POST", path, as_json=as_json)
    else:
        path, body = f"{_of(endpoint)}/replay", {"since": since}
        _show(target, show_replayed, "POST", path, json=body, as_json=as_json)


def _switch(target: Target, endpoint: str, *, enabled: bool, as_json: bool) -> None:
    from cli.render.webhooks import show_endpoint

    _show(target, show_endpoint, "PATCH", _of(endpoint), json={"enabled": enabled}, as_json=as_json)


def _of(endpoint: str) -> str:
    return f"/{quote(endpoint, safe='')}"


def _call(target: Target, method: str, path: str, **request: Any) -> Coroutine[Any, Any, Any]:
    async def call() -> Any:
        async with target.open() as client:
            return await client.call(method, f"/v1/webhook-endpoints{path}", **request)

    return call()


def _show(target: Target, show: Any, method: str, path: str, *, as_json: bool, **request: Any) -> None:
    """Call a route, and print its answer: as JSON, or by `show`."""
    from cli.client.target import print_json

    async def call_and_show() -> None:
        answer = await _call(target, method, path, **request)
        if as_json:
            print_json(answer)
        else:
            show(answer)

    run(call_and_show())
