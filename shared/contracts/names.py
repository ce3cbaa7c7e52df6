"""The rules for names that LiveKit sees: which characters, and how many bytes.

LiveKit counts bytes of UTF-8 (livekit-server 1.13.5: `LimitConfig` in pkg/config/config.go), while Python
counts characters. LiveKit refuses no character. These functions refuse characters that no real name has and
that harm its readers: control characters, lone surrogates, and characters that change the direction of the
text around them. They accept letters of any script, joined emoji, and spaces of any width inside a name.
"""

from typing import Annotated, Final

from pydantic import AfterValidator, Field

# `max_room_name_length`, `max_participant_identity_length` and `max_participant_name_length`. A participant
# with a longer identity can't join, and a room with a longer name can't be created.
MAX_NAME_BYTES: Final = 256
# This limit is ours, because keys and indexes contain the name. LiveKit has none for an agent's name.
MAX_AGENT_NAME_BYTES: Final = 128
# `ValidateDeployment` in the protocol's package `agent`. It forbids `_` too, which is a separator in topics.
MAX_DEPLOYMENT_BYTES: Final = 64

_REFUSED: Final = (
    ("\x00", "\x1f", "a control character"),
    ("\x7f", "\x9f", "a control character"),
    ("\ud800", "\udfff", "a lone surrogate"),
    # UAX #9's explicit embeddings, overrides and isolates: they change how the text after a name is
    # displayed.
    ("\u202a", "\u202e", "a direction override"),
    ("\u2066", "\u2069", "a direction override"),
)


def check_characters(value: str) -> str:
    """Return `value`; raises `ValueError` that names the first forbidden character."""
    for position, character in enumerate(value):
        kind = next((kind for first, last, kind in _REFUSED if first <= character <= last), None)
        if kind is not None:
            raise ValueError(f"must not contain {kind} (U+{ord(character):04X} at character {position + 1})")
    return value


def check_size(value: str, most: int = MAX_NAME_BYTES) -> str:
    """Return `value`.

    Raises `ValueError` that states both sizes if it has more than `most` bytes in UTF-8.
    """
    size = len(value.encode(errors="surrogatepass"))
    if size > most:
        raise ValueError(f"must be at most {most} bytes in UTF-8; it has {size}")
    return value


def check_not_padded(value: str) -> str:
    """Return `value`; raises `ValueError` if it begins or ends with white space."""
    # LiveKit compares names byte by byte: with a stray space, an agent is never found.
    if value != value.strip() or not value:
        raise ValueError("must not be empty, nor begin or end with white space")
    return value


def check_name(value: str) -> str:
    """Return `value` if it is allowed as a name; raises `ValueError` with the reason if not."""
    return check_not_padded(check_size(check_characters(value)))


def check_agent_name(value: str) -> str:
    """Return `value` if it is allowed as an agent's name; raises `ValueError` with the reason if not."""
    return check_name(check_size(value, MAX_AGENT_NAME_BYTES))


def check_deployment(value: str) -> str:
    """Return `value` if LiveKit accepts it as a deployment; raises `ValueError` with the reason if not."""
    check_size(check_characters(value), MAX_DEPLOYMENT_BYTES)
    if "_" in value or any(character.isspace() for character in value):
        raise ValueError("must not contain an underscore or white space")
    return value


# A character has at least one byte, so the schema's `maxLength` is correct, and cheap to check first.
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_BYTES), AfterValidator(check_name)]
"""The name of a room, or the identity or name of a participant."""

AgentName = Annotated[
    str, Field(min_length=1, max_length=MAX_AGENT_NAME_BYTES), AfterValidator(check_agent_name)
]
"""The name under which an agent's workers register."""

Deployment = Annotated[str, Field(max_length=MAX_DEPLOYMENT_BYTES), AfterValidator(check_deployment)]
"""LiveKit's name of a deployment; the empty name is the unnamed deployment."""


def check_text(value: str) -> str:
    """Return `value` if both databases can store it; raises `ValueError` if not."""
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must not contain NUL or lone surrogates")
    return value


Text = Annotated[str, AfterValidator(check_text)]
"""Any text that can be stored. PostgreSQL stores no NUL, and no database stores a lone surrogate."""


def check_sought(value: str) -> str:
    """Return `value` if a stored name can be equal to it; raises `ValueError` if not."""
    return check_size(check_text(value))


Sought = Annotated[str, Field(max_length=MAX_NAME_BYTES), AfterValidator(check_sought)]
"""A name to search for. Our API would refuse some of them, but participants can join a room without it."""
