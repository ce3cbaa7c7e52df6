"""Dead letters of a project. The letters of all projects are on one stream.

A letter belongs to the project of the sessions that it names. Where no session is known, as in a malformed
entry, it belongs to the project `default`, which the operators of a deployment use.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis
from sqlalchemy import select
from sqlmodel import col

from services.api.auth.access import DEFAULT_PROJECT
from services.api.errors.problems import Problem
from shared.core.sessions.tables import SessionRow
from shared.platform.database.database import Database
from shared.platform.redis.dead_letters import PAGE, Letter, find_letter, newest_dead_letters
from shared.platform.redis.streams import UNREACHABLE

# A filter that matches little must not read the whole stream for one answer.
_MOST_PAGES: Final = 20


@dataclass(frozen=True)
class DeadLettersOf:
    """The dead letters that a project may see."""

    project: str
    redis: Redis
    database: Database

    async def among(self, letters: Sequence[Letter]) -> list[Letter]:
        """Return those of the letters that belong to the project."""
        # PostgreSQL refuses to even look for a text with NUL in it.
        named = {each for letter in letters for each in letter.sessions if each.isprintable()}
        projects = await self._projects(named) if named else {}
        return [letter for letter in letters if _project_of(letter, projects) == self.project]

    async def get(self, letter_id: str) -> Letter:
        """Return a letter of the project; raises `Problem` if there is none of this id."""
        letter = await find_letter(self.redis, letter_id)
        if letter is None or not await self.among([letter]):
            raise Problem(404, "dead_letter_not_found", f"there is no dead letter {letter_id}")
        return letter

    async def page(
        self, *, stream: str | None, reason: str | None, limit: int, cursor: str | None
    ) -> tuple[list[Letter], str | None]:
        """Return up to `limit` letters that are older than the cursor, and the next cursor."""
        found: list[Letter] = []
        for _ in range(_MOST_PAGES):
            page = await newest_dead_letters(self.redis, before=cursor)
            for letter in await self.among(page):
                if stream not in (None, letter.stream) or reason not in (None, letter.reason):
                    continue
                if len(found) == limit:
                    return found, found[-1].id
                found.append(letter)
            if len(page) < PAGE:
                return found, None
            cursor = page[-1].id
        return found, cursor

    async def _projects(self, session_ids: Collection[str]) -> Mapping[str, str]:
        named = select(col(SessionRow.id), col(SessionRow.project)).where(col(SessionRow.id).in_(session_ids))
        async with self.database.read() as db:
            return {row.id: row.project for row in await db.execute(named)}


def _project_of(letter: Letter, projects: Mapping[str, str]) -> str | None:
    """The project of a letter; None if its sessions belong to several."""
    found = {projects[each] for each in letter.sessions if each in projects} or {DEFAULT_PROJECT}
    return found.pop() if len(found) == 1 else None


@asynccontextmanager
async def redis_answering() -> AsyncIterator[None]:
    """Raise `Problem` where Redis does not answer."""
    try:
        yield
    except UNREACHABLE as error:
        detail = f"Redis does not answer, and holds what was asked for: {error}"
        raise Problem(503, "redis_unavailable", detail, headers={"Retry-After": "2"}) from None
