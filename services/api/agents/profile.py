"""Store a new version of an agent name's profile, unless somebody else has changed it meanwhile."""

import re
from datetime import datetime
from typing import Final

from sqlalchemy.exc import IntegrityError

from services.api.errors.problems import Problem, invalid_field
from services.api.http.paging import cut_page, one_more
from shared.contracts.dispatching import MAX_PACKED_PROFILE_BYTES, packed_size
from shared.contracts.profiles import Profile
from shared.core.profiles.profiles import add_version, list_newest, read_version
from shared.core.profiles.tables import ProfileRow
from shared.platform.database.database import Database
from shared.platform.database.errors import is_unique_violation

# Writers that name no version they have read store theirs one after the other.
_TRIES: Final = 5
_ETAG: Final = re.compile(r'(?:W/)?"(\d{1,9})"')


def etag_of(version: int) -> str:
    """Return the ETag of a version."""
    return f'"{version}"'


def expected_version(if_match: str | None, if_none_match: str | None) -> int | None:
    """Return the version that the client has read; 0: there is none; None: it doesn't say.

    Raises `Problem` for headers that say something else.
    """
    if if_none_match is not None:
        if if_none_match.strip() != "*" or if_match is not None:
            raise invalid_field("If-None-Match", "must be *, and without If-Match")
        return 0
    if if_match is None or if_match.strip() == "*":
        return None
    found = _ETAG.fullmatch(if_match.strip())
    if found is None:
        raise invalid_field("If-Match", f"must be one ETag, such as {etag_of(3)}")
    return int(found[1])


async def get_profile(database: Database, agent_name: str, version: int | None) -> ProfileRow:
    """Return one version, by default the newest; raises `Problem` if there is none."""
    async with database.read() as db:
        row = await read_version(db, agent_name, version)
    if row is None:
        which = "profile" if version is None else f"version {version} of a profile"
        raise Problem(404, "profile_not_found", f"no {which} is stored for {agent_name}")
    return row


async def list_profiles(
    database: Database, *, limit: int, cursor: str | None
) -> tuple[list[ProfileRow], str | None]:
    """Return up to `limit` newest versions of the names after the cursor, and the next cursor."""
    async with database.read() as db:
        rows = await list_newest(db, limit=one_more(limit), after=cursor or "")
    return cut_page(rows, limit, lambda row: row.agent_name)


async def put_profile(
    database: Database,
    agent_name: str,
    profile: Profile,
    *,
    expected: int | None,
    key_id: str | None,
    now: datetime,
) -> ProfileRow:
    """Store the next version and return it; raises `Problem` if the newest is not the expected one.

    Writers at once that name no version have `_TRIES` tries each.
    """
    _check_size(profile)
    tries = 1
    while True:
        try:
            async with database.write() as db:
                newest = await read_version(db, agent_name)
                version = newest.version if newest is not None else 0
                if expected not in (None, version):
                    raise _changed(agent_name, version)
                return await add_version(db, agent_name, profile, version=version + 1, key_id=key_id, now=now)
        except IntegrityError as error:
            if not is_unique_violation(error) or tries == _TRIES:
                raise
            tries += 1


def _check_size(profile: Profile) -> None:
    size = packed_size(profile)
    if size > MAX_PACKED_PROFILE_BYTES:
        raise invalid_field(
            "body",
            f"must be at most {MAX_PACKED_PROFILE_BYTES} bytes, compressed and without instructions, to fit "
            f"into a dispatch; it has {size}",
        )


def _changed(agent_name: str, version: int) -> Problem:
    now = f"version {version} is the newest" if version else "none is stored"
    return Problem(412, "profile_changed", f"{agent_name} has another profile than the request names: {now}")
