"""What may be a name that travels to LiveKit: which characters, and how many bytes.

LiveKit counts bytes of UTF-8 (livekit-server 1.13.5: `LimitConfig` in pkg/config/config.go), where Python
counts characters; and it refuses no character. Refused here is what no name has and what harms whoever
reads it: control characters, lone surrogates, and what turns the direction of the text around it. A name
of one person is one word: letters of any script, joined emoji, and spaces of any width inside of it.
"""

from typing import Annotated, Final

from pydantic import AfterValidator, Field

# `max_room_name_length`, `max_participant_identity_length` and `max_participant_name_length`. A longer
# identity can't join, and a longer room can't be made.
MAX_NAME_BYTES: Final = 256
# Ours: LiveKit has no limit for an agent's name, and it is part of keys and indexes.
MAX_AGENT_NAME_BYTES: Final = 128
# `ValidateDeployment` in the protocol's package `agent`: no `_` either, which separates it in a topic.
MAX_DEPLOYMENT_BYTES: Final = 64

_REFUSED: Final = (
    ("\x00", "\x1f", "a control character"),
    ("\x7f", "\x9f", "a control character"),
    ("\ud800", "\udfff", "a lone surrogate"),
    # UAX #9's explicit embeddings, overrides and isolates: they change how the text after a name is shown.
    ("\u202a", "\u202e", "a direction override"),
    ("\u2066", "\u2069", "a direction override"),
)


def check_characters(value: str) -> str:
    """Return `value`; raises `ValueError` that names the first character which no name may have."""
    for position, character in enumerate(value):
        kind = next((kind for first, last, kind in _REFUSED if first <= character <= last), None)
        if kind is not None:
            raise ValueError(f"must not contain {kind} (U+{ord(character):04X} at character {position + 1})")
    return value


def check_size(value: str, most: int = MAX_NAME_BYTES) -> str:
    """Return `value`; raises `ValueError` with both sizes if it has more than `most` bytes in UTF-8."""
    size = len(value.encode(errors="surrogatepass"))
    if size > most:
        raise ValueError(f"must be at most {most} bytes in UTF-8; it has {size}")
    return value


def check_not_padded(value: str) -> str:
    """Return `value`; raises `ValueError` if it begins or ends with white space."""
    # LiveKit compares names byte for byte: a stray blank is an agent that is never found.
    if value != value.strip() or not value:
        raise ValueError("must not be empty, nor begin or end with white space")
    return value


def check_name(value: str) -> str:
    """Return `value` if it may be a name; raises `ValueError` that says why not."""
    return check_not_padded(check_size(check_characters(value)))


def check_agent_name(value: str) -> str:
    """Return `value` if it may be an agent's name; raises `ValueError` that says why not."""
    return check_name(check_size(value, MAX_AGENT_NAME_BYTES))


def check_deployment(value: str) -> str:
    """Return `value` if LiveKit takes it for a deployment; raises `ValueError` that says why not."""
    check_size(check_characters(value), MAX_DEPLOYMENT_BYTES)
    if "_" in value or any(character.isspace() for character in value):
        raise ValueError("must not contain an underscore or white space")
    return value


# A character has at least one byte, so the schema's `maxLength` is true, and cheap to check first.
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_BYTES), AfterValidator(check_name)]
"""A room's, or a participant's identity or name."""

AgentName = Annotated[
    str, Field(min_length=1, max_length=MAX_AGENT_NAME_BYTES), AfterValidator(check_agent_name)
]
"""An agent's name, under which its workers register."""

Deployment = Annotated[str, Field(max_length=MAX_DEPLOYMENT_BYTES), AfterValidator(check_deployment)]
"""LiveKit's name of a deployment; empty is the one without a name."""


def check_text(value: str) -> str:
    """Return `value` if both databases can store it; raises `ValueError` if not."""
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must not contain NUL or lone surrogates")
    return value


Text = Annotated[str, AfterValidator(check_text)]
"""Any text that can be stored: PostgreSQL stores no NUL, and nothing can store a lone surrogate."""


def check_sought(value: str) -> str:
    """Return `value` if there may be something of this name; raises `ValueError` if not."""
    return check_size(check_text(value))


Sought = Annotated[str, Field(max_length=MAX_NAME_BYTES), AfterValidator(check_sought)]
"""A name to look for. It may be one that nobody could choose here: other ways lead into a room too."""
