"""The routes of API keys. Each reads the request, calls one function, and builds the answer."""

from datetime import timedelta

from fastapi import APIRouter, Response

from services.api.auth.access import Admin
from services.api.deps import Deps
from services.api.errors.problems import PROBLEMS, Problem, invalid_field
from services.api.keys.manage import (
    NewKey,
    NoSuchKey,
    Refused,
    TooManyKeys,
    create_key,
    list_keys,
    revoke_key,
)
from services.api.keys.schemas import ApiKey, ApiKeys, CreatedKey, CreateKey
from shared.platform.clock import utc_now

router = APIRouter(prefix="/v1/keys", responses=PROBLEMS, tags=["keys"])


@router.get("", summary="List API keys")
async def list_(services: Deps, asking: Admin) -> ApiKeys:
    """List the keys of the project."""
    rows = await list_keys(services.database, project=asking.project)
    return ApiKeys(keys=[ApiKey.of(row) for row in rows])


@router.post("", status_code=201, summary="Make an API key")
async def create(services: Deps, response: Response, asking: Admin, wanted: CreateKey) -> CreatedKey:
    """Make a key for the project. Only this answer shows the key."""
    days = wanted.expires_in_days
    new = NewKey(
        name=wanted.name,
        project=asking.project,
        kind=wanted.kind,
        scopes=tuple(wanted.scopes),
        role=wanted.role,
        origins=tuple(wanted.origins),
        expires_in=None if days is None else timedelta(days=days),
    )
    try:
        secret, row = await create_key(services.database, new, now=utc_now)
    except TooManyKeys as full:
        raise Problem(409, "too_many_keys", str(full)) from None
    except Refused as refused:
        raise invalid_field(refused.field, str(refused)) from None
    response.headers["Location"] = f"/v1/keys/{row.id}"
    response.headers["Cache-Control"] = "no-store"
    return CreatedKey(key=secret.get_secret_value(), **ApiKey.of(row).model_dump())


@router.delete("/{key_id}", summary="Revoke an API key")
async def revoke(services: Deps, asking: Admin, key_id: str) -> ApiKey:
    """Revoke a key. Within two seconds every replica refuses it, and its streams end.

    Repeating it is no error.
    """
    try:
        row = await revoke_key(services.database, key_id, project=asking.project, now=utc_now)
    except NoSuchKey:
        raise Problem(404, "key_not_found", f"there is no key {key_id}") from None
    return ApiKey.of(row)
