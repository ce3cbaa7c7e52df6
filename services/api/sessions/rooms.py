"""The names of rooms. LiveKit has one name space for all projects, so each project has a part of it.

A caller's token opens its room by name, for as long as it is good, whether or not a session of ours still
lives there. That two live sessions never share a room is therefore not enough: a name must never be
another project's, before or after.
"""

from typing import Final

from services.api.auth.access import DEFAULT_PROJECT
from services.api.errors.problems import invalid_field
from shared.contracts.names import check_size

_MARK: Final = "@"


def room_of(project: str, name: str) -> str:
    """The name in LiveKit of what a project calls `name`; raises `Problem` if it could be another's.

    The default project's rooms are called what they are called; others' begin with `@project/`.
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
