"""API keys for tests, and the scopes that the API's routes need."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from services.api.auth.access import Needs, Scope
from services.api.auth.key_format import Kind, id_of
from services.api.keys.manage import NewKey, create_key, revoke_key
from shared.platform.clock import utc_now
from shared.platform.database.database import Database

ORIGIN = "https://shop.example.com"


async def put_key(
    database: Database, *scopes: Scope, now: datetime | None = None, revoked: bool = False, **wish: Any
) -> dict[str, str]:
    """Make a key; return the headers of a request with it."""
    kind = wish.setdefault("kind", Kind.SECRET)
    if kind is Kind.PUBLISHABLE:
        wish.setdefault("origins", (ORIGIN,))
    made = NewKey(name="test", scopes=scopes, **wish)
    secret, row = await create_key(database, made, now=lambda: now or utc_now())
    if revoked:
        await revoke_key(database, row.id, now=utc_now)
    return {"Authorization": f"Bearer {secret.get_secret_value()}"}


async def bare_key(database: Database, *scopes: Scope) -> str:
    """Make a key; return it as people paste it."""
    return (await put_key(database, *scopes))["Authorization"].removeprefix("Bearer ")


def id_in(headers: dict[str, str]) -> str:
    """The public id of the key in a request's headers."""
    return id_of(headers["Authorization"].removeprefix("Bearer ")) or ""


async def expired_key(database: Database, *scopes: Scope) -> dict[str, str]:
    """Return the headers with an expired key."""
    long_ago = utc_now() - timedelta(days=2)
    return await put_key(database, *scopes, now=long_ago, expires_in=timedelta(days=1))


@dataclass(frozen=True)
class Route:
    """A route of the API, with the scope that it needs; None if it needs none."""

    method: str
    path: str
    scope: Scope | None

    def __str__(self) -> str:
        """As it is written in a document."""
        return f"{self.method} {self.path}"


def routes_of(app: FastAPI) -> Iterator[Route]:
    """Yield every route that FastAPI serves, including those hidden from OpenAPI."""
    for context in iter_route_contexts(app.routes):
        dependant = getattr(context, "dependant", None)
        if dependant is None:  # the documentation's pages
            continue
        needs = [needed.call for needed in dependant.dependencies if isinstance(needed.call, Needs)]
        for method in sorted(context.methods or ()):
            yield Route(method, str(context.path), needs[0].scope if needs else None)
