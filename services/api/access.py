"""Who asks, and what he may do: each route names the scope that it takes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from fastapi import Depends, Request

from services.api.problems import Problem


class Scope(StrEnum):
    """What a key may do. `ADMIN` holds all others."""

    SESSIONS_WRITE = "sessions:write"
    SESSIONS_READ = "sessions:read"
    TRANSCRIPTS_READ = "transcripts:read"
    TOKENS_RESERVE = "tokens:reserve"
    ADMIN = "admin"


@dataclass(frozen=True)
class Principal:
    """Who asks: a project, by one of its keys. Sessions of another project do not exist for it."""

    project: str = "default"
    scopes: frozenset[Scope] = frozenset(Scope)


def needs(scope: Scope) -> Callable[[Request], Awaitable[Principal]]:
    """A dependency that returns who asks, if he has the scope."""

    async def principal(request: Request) -> Principal:
        asking: Principal = getattr(request.state, "principal", Principal())
        if scope not in asking.scopes:
            raise Problem(403, "scope_missing", f"this needs a key with the scope {scope}")
        return asking

    return principal


SessionsWriter = Annotated[Principal, Depends(needs(Scope.SESSIONS_WRITE))]
SessionsReader = Annotated[Principal, Depends(needs(Scope.SESSIONS_READ))]
TranscriptsReader = Annotated[Principal, Depends(needs(Scope.TRANSCRIPTS_READ))]
Admin = Annotated[Principal, Depends(needs(Scope.ADMIN))]
TokenReserver = Annotated[Principal, Depends(needs(Scope.TOKENS_RESERVE))]
