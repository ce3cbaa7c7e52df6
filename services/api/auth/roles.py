"""Roles: the sets of scopes that people get, by name. A key has scopes; a role is only a name for them."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final

from services.api.auth.access import Scope, all_held


class AccessRole(StrEnum):
    """What a person may do. Each role includes those before it.

    A viewer sees sessions, causes and figures, and no words of callers. `TRANSCRIPTS` adds what was said,
    `OPERATOR` starts and ends sessions, and `ADMIN` may do everything.
    """

    VIEWER = "viewer"
    TRANSCRIPTS = "transcripts"
    OPERATOR = "operator"
    ADMIN = "admin"


SCOPES_OF: Final[Mapping[AccessRole, tuple[Scope, ...]]] = {
    AccessRole.VIEWER: (Scope.SESSIONS_READ,),
    AccessRole.TRANSCRIPTS: (Scope.SESSIONS_READ, Scope.TRANSCRIPTS_READ),
    AccessRole.OPERATOR: (Scope.SESSIONS_READ, Scope.TRANSCRIPTS_READ, Scope.SESSIONS_WRITE),
    AccessRole.ADMIN: (Scope.ADMIN,),
}


def role_of(scopes: Collection[Scope]) -> AccessRole | None:
    """Return the highest role whose scopes are all held; None if not even a viewer's are."""
    held = all_held(scopes)
    return next((role for role in reversed(AccessRole) if all_held(SCOPES_OF[role]) <= held), None)
