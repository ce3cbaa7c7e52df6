"""Scopes: each route names the scope that it needs.

The middleware (`http/middleware.py`) authenticates the request before a route is chosen. This module decides
whether the key's scopes allow the route.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from services.api.errors.problems import Problem


class Scope(StrEnum):
    """What a key may do.

    `ADMIN` includes all others; the scope for starting sessions includes reserving them.
    """

    SESSIONS_WRITE = "sessions:write"
    SESSIONS_READ = "sessions:read"
    TRANSCRIPTS_READ = "transcripts:read"
    TOKENS_RESERVE = "tokens:reserve"
    AGENT = "agent"
    ADMIN = "admin"


DEFAULT_PROJECT: Final = "default"

_IMPLIED: Final = {
    Scope.ADMIN: frozenset(Scope),
    Scope.SESSIONS_WRITE: frozenset({Scope.SESSIONS_WRITE, Scope.TOKENS_RESERVE}),
}


def all_held(scopes: Collection[Scope]) -> frozenset[Scope]:
    """Return the scopes of a key, with those that they include."""
    return frozenset(held for scope in scopes for held in _IMPLIED.get(scope, {scope}))


@dataclass(frozen=True)
class Principal:
    """The caller of a request: a project, by one of its keys. It can't see the sessions of other projects.

    `key_id` is None while no keys are required. Everybody can read a publishable key. `login` is the login
    of the console by whose cookie the request came; None if it sent its key.
    """

    project: str = DEFAULT_PROJECT
    scopes: frozenset[Scope] = frozenset(Scope)
    key_id: str | None = None
    publishable: bool = False
    login: str | None = None


_BEARER: Final = HTTPBearer(auto_error=False, description="An API key: `rollcall keys create`")


@dataclass(frozen=True)
class Needs:
    """A dependency that returns the principal if it has the scope. Raises `Problem`."""

    scope: Scope

    async def __call__(  # FastAPI would run a plain function in a thread
        self, request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
    ) -> Principal:
        """Return the principal."""
        asking: Principal | None = getattr(request.state, "principal", None)
        if asking is None:
            raise key_missing()
        if self.scope not in asking.scopes:
            raise Problem(
                403,
                "scope_missing",
                f"this needs a key with the scope {self.scope}; yours has {_named(asking.scopes)}",
                headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{self.scope}"'},
                missing_scope=self.scope,
            )
        return asking


def key_missing() -> Problem:
    """Return the problem of a request without a key."""
    detail = "send an API key: Authorization: Bearer …; `rollcall keys create` makes one"
    return Problem(401, "key_missing", detail, headers={"WWW-Authenticate": 'Bearer realm="rollcall"'})


def _named(scopes: Collection[Scope]) -> str:
    return ", ".join(sorted(scopes)) or "none"


SessionsWriter = Annotated[Principal, Depends(Needs(Scope.SESSIONS_WRITE))]
SessionsReader = Annotated[Principal, Depends(Needs(Scope.SESSIONS_READ))]
TranscriptsReader = Annotated[Principal, Depends(Needs(Scope.TRANSCRIPTS_READ))]
Admin = Annotated[Principal, Depends(Needs(Scope.ADMIN))]
TokenReserver = Annotated[Principal, Depends(Needs(Scope.TOKENS_RESERVE))]
