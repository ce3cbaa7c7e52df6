"""docs/events.md and asyncapi.yaml match the models and are complete; docs/logs.md matches the code."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.contracts.events import EVENT_TYPES, SESSION_EVENTS
from tools.__main__ import WRITTEN
from tools.event_docs.asyncapi import asyncapi

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(asyncapi())
    return loaded


@pytest.mark.parametrize("name", WRITTEN)
def test_the_committed_file_is_the_one_that_is_made(name: str) -> None:
    assert (ROOT / name).read_text() == WRITTEN[name](), "run make docs"


def parts(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from parts(child)


def resolved(document: dict[str, Any], reference: str) -> Any:
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = [part["$ref"] for part in parts(document) if "$ref" in part]
    assert len(references) > 50
    for reference in references:
        assert resolved(document, reference), reference


def test_every_event_is_told_where_it_goes(document: dict[str, Any]) -> None:
    channels = {name: set(channel["messages"]) for name, channel in document["channels"].items()}
    of_sessions = {model.type for model in SESSION_EVENTS}
    assert channels == {
        "events": of_sessions,
        "live": of_sessions | {"transcript.turn_finished.v1", "transcript.caption_changed.v1"},
        "liveOfProject": of_sessions | {"transcript.turn_finished.v1", "transcript.caption_changed.v1"},
        "webhooks": of_sessions | {"webhook.test.v1"},
        "reports": {"agent.reported.v1"},
        "turns": {"transcript.turn_finished.v1"},
    }
    assert set(document["components"]["messages"]) == set(EVENT_TYPES)
    used = {operation["channel"]["$ref"] for operation in document["operations"].values()}
    assert used == {f"#/channels/{name}" for name in channels}


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_an_event_as_it_is_sent_has_the_fields_that_the_document_names(
    document: dict[str, Any], event_type: str
) -> None:
    event = json.loads((GOLDEN / f"{event_type}.json").read_text())
    payload = resolved(document, document["components"]["messages"][event_type]["payload"]["$ref"])
    envelope, own = (resolved(document, p["$ref"]) if "$ref" in p else p for p in payload["allOf"])
    assert set(envelope["required"]) <= set(event) <= set(envelope["properties"])
    assert own["properties"]["type"] == {"const": event["type"]}
    assert own["properties"]["severity"] == {"const": event["severity"]}
    data = resolved(document, own["properties"]["data"]["$ref"])
    assert set(data.get("required", [])) <= set(event["data"]) <= set(data["properties"])


def test_the_page_tells_of_every_event() -> None:
    page = (ROOT / "docs/events.md").read_text()
    assert all(f"### `{event_type}`" in page for event_type in EVENT_TYPES)
