"""The items of one realtime conversation, in order: messages, calls of tools, and their results."""

from collections.abc import Sequence
from typing import Any, Final

import uuid_utils

from services.inference.ports import Message
from services.inference.request_refused import RequestRefused, malformed

# The client's word for the place before the first item.
ROOT: Final = "root"


class Items:
    """Keeps what both sides have said, by the rules of OpenAI's realtime API."""

    def __init__(self) -> None:
        self._items: list[dict[str, Any]] = []

    def add(self, item: object, *, after: object = None) -> tuple[str | None, dict[str, Any]]:
        """Add an item after another one, or at the end. Returns the id before it, and the item as it is kept.

        Raises `RequestRefused` for an item of no known shape, and for a place that does not exist.
        """
        if not isinstance(item, dict) or not isinstance(item.get("type"), str):
            raise malformed("an item must be an object with a type", param="item")
        kept = {"id": new_id("item"), "status": "completed", **item}
        if self._index(kept["id"]) is not None:
            raise RequestRefused(
                400, "item_create_duplicate_item_id", f"there is an item {kept['id']} already"
            )
        at = self._place(after)
        self._items.insert(at, kept)
        return (self._items[at - 1]["id"] if at else None), kept

    def delete(self, item_id: object) -> str:
        """Remove an item; returns its id. Raises `RequestRefused` if there is none."""
        at = self._index(item_id)
        if at is None:
            raise RequestRefused(404, "item_not_found", f"there is no item {item_id}", param="item_id")
        return str(self._items.pop(at)["id"])

    def heard(self, item_id: str, text: str) -> None:
        """Write down what the caller has said in an item that was added as it began."""
        at = self._index(item_id)
        if at is not None:
            self._items[at]["content"] = [{"type": "input_audio", "transcript": text}]

    def messages(self, instructions: str | None) -> list[Message]:
        """Return the conversation as the language model reads it."""
        told = [Message(role="system", text=instructions)] if instructions else []
        return told + [message for item in self._items if (message := _as_message(item)) is not None]

    def _place(self, after: object) -> int:
        if after is None:
            return len(self._items)
        if after == ROOT:
            return 0
        at = self._index(after)
        if at is None:
            raise RequestRefused(404, "item_not_found", f"there is no item {after}", param="previous_item_id")
        return at + 1

    def _index(self, item_id: object) -> int | None:
        return next((at for at, item in enumerate(self._items) if item["id"] == item_id), None)


def new_id(kind: str) -> str:
    """Return an id that nobody else has, as `item_…`."""
    return f"{kind}_{uuid_utils.uuid7().hex[-24:]}"


def _as_message(item: dict[str, Any]) -> Message | None:
    if item["type"] == "function_call_output":
        return Message(role="tool", text=str(item.get("output") or ""))
    if item["type"] != "message":
        return None
    return Message(role=str(item.get("role")), text=" ".join(_texts(item.get("content"))))


def _texts(content: object) -> Sequence[str]:
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    return [text for part in parts if isinstance(text := part.get("text") or part.get("transcript"), str)]
