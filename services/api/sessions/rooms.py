"""The names of rooms. LiveKit has one name space for all projects, so each project gets a part of it.

A caller's token opens its room by name as long as the token is valid, even if the session is over. So it is
not enough that two live sessions never share a room: two projects must never use the same name, not even one
after the other.
"""

from typing import Final

from services.api.auth.access import DEFAULT_PROJECT
from services.api.errors.problems import invalid_field
from shared.contracts.names import check_size

_MARK: Final = "@"


def room_of(project: str, name: str) -> str:
    """Return LiveKit's name of a project's room `name`.

    Raises `Problem` if it could belong to another project. The default project's names are unchanged; those
    of others begin with `@project/`.
    """
    if project == DEFAULT_PROJECT:
        if name.startswith(_MARK):
            raise invalid_field(
                "room_name", f"must not begin with {_MARK}: such rooms belong to other projects"
            )
        return name
    prefix = f"{_MARK}{project}/"
    whole = name if name.startswith(prefix) else prefix + name
    try:
        return check_size(whole)
    except ValueError as fault:
        raise invalid_field("room_name", f"{fault}, with {prefix} before it") from None
