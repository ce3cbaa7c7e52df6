"""Decide how much of a turn's text is stored: all of it, what a redactor leaves, or nothing."""

import importlib
import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, Literal, Protocol

from shared.contracts.events import TurnFinished
from shared.contracts.text import completed_json, cut, size_of
from shared.contracts.tools import CALL, OUTPUT, begins_with
from shared.core.transcripts.erasure import without_text
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

Redactor = Callable[[str], str]

# If there is a redactor, so much is removed from the end of a turn that was cut.
LONGEST_SECRET_BYTES: Final = 1024
# Stored instead of a text on which the redactor failed. The raw text is never stored then.
NOT_REDACTED = "[not stored: the redactor failed]"


class RedactionSettings(Protocol):
    """The settings that this module needs."""

    @property
    def transcript_store(self) -> Literal["full", "metadata"]:
        """Whether texts are stored, or only metadata."""

    @property
    def transcript_redactor(self) -> str | None:
        """The redactor as `module:function`; None if there is none."""


def prepare_text(turn: TurnFinished, settings: RedactionSettings) -> TurnFinished:
    """Return the turn in the form that is stored. It leaves out text that can't be redacted.

    It raises nothing but `RedactorMissing`, if there is no function of the redactor's name; `load_redactor`
    detects that at the process's start.
    """
    if settings.transcript_store == "metadata":
        return without_text(turn)
    if settings.transcript_redactor is None:
        return turn
    return redact(turn, load_redactor(settings.transcript_redactor))


def redact(turn: TurnFinished, redactor: Redactor) -> TurnFinished:
    """Return the turn with its text and all text in its `extra` redacted."""
    try:
        redacted = {"text": _text(turn, redactor), **_extra(turn, redactor)}
        return TurnFinished.model_validate({**turn.model_dump(), **redacted})
    except Exception as error:
        # Log neither its message nor its traceback: both may contain the text.
        log.error(  # noqa: TRY400
            "redactor_failed", session_id=turn.session_id, seq=turn.seq, error=type(error).__name__
        )
        return without_text(turn).model_copy(update={"text": NOT_REDACTED})


def _text(turn: TurnFinished, redactor: Redactor) -> str:
    """Redact a turn's text. A tool's text is mostly JSON, after the tool's name and a bracket."""
    if turn.kind not in (CALL, OUTPUT):
        return _uncut(turn, _checked(redactor, turn.text))
    head = begins_with(turn.text, turn.extra) if turn.kind == CALL else ""
    tail = ")" if head and turn.cut_from_bytes is None else ""
    words = turn.text[len(head) : len(turn.text) - len(tail)]
    return _uncut(turn, f"{_checked(redactor, head)}{_as_json(words, redactor)}{tail}")


def _uncut(turn: TurnFinished, redacted: str) -> str:
    """Remove the end of a cut turn: it may hold half of what a redactor recognises only as a whole."""
    if turn.cut_from_bytes is None:
        return redacted
    return cut(redacted, max(0, size_of(redacted) - LONGEST_SECRET_BYTES))


def _extra(turn: TurnFinished, redactor: Redactor) -> dict[str, Any]:
    return {"extra": {name: _inside(value, redactor) for name, value in turn.extra.items()}}


def _inside(value: Any, redactor: Redactor) -> Any:
    if isinstance(value, str):
        return _as_json(value, redactor)
    if isinstance(value, list):
        return [_inside(part, redactor) for part in value]
    if isinstance(value, dict):
        return {name: _inside(part, redactor) for name, part in value.items()}
    if isinstance(value, int | float) and not isinstance(value, bool):
        # A telephone number may be a JSON number.
        return value if _checked(redactor, str(value)) == str(value) else _checked(redactor, str(value))
    return value


def _as_json(value: str, redactor: Redactor) -> str:
    """Redact a text. A tool's arguments, which are JSON in a text, stay JSON."""
    if value.startswith(("{", "[")):
        try:
            return json.dumps(_inside(completed_json(value), redactor), ensure_ascii=False)
        except ValueError:
            pass
    return _checked(redactor, value)


def _checked(redactor: Redactor, text: str) -> str:
    redacted = redactor(text)
    if not isinstance(redacted, str):
        raise TypeError("the redactor must return a text")
    return redacted


class RedactorMissing(Exception):
    """TRANSCRIPT_REDACTOR does not name a callable."""


@lru_cache
def load_redactor(name: str) -> Redactor:
    """Import the function that `package.module:function` names; raises `RedactorMissing`."""
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise RedactorMissing(f"TRANSCRIPT_REDACTOR={name}: {error}") from error
    if not callable(found):
        raise RedactorMissing(f"TRANSCRIPT_REDACTOR={name}: this is not a function")
    redactor: Redactor = found
    return redactor
