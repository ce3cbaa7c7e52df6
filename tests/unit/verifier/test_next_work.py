"""The task `verify_session` does the work that `NEXT_WORK` names for the session's status."""

from typing import cast

import pytest

from services.verifier.bootstrap import Services
from services.verifier.close.close import Closer
from services.verifier.repository import Current, Repository
from shared.contracts.keys import VERIFY_TASK
from shared.contracts.sessions import NEXT_TASK, NEXT_WORK, SessionStatus, Work
from shared.platform.database.database import Database
from tests.unit.making import make_attempt, make_session


class OneSession:
    """A repository with one session."""

    def __init__(self, status: SessionStatus) -> None:
        row = make_session(status=status, attempt=1)
        self.current = Current(row, make_attempt(row))

    async def read(self, session_id: str) -> Current | None:
        return self.current if session_id == self.current.session.id else None


async def done(status: SessionStatus, session_id: str | None = None) -> list[Work]:
    found: list[Work] = []

    async def verify(_: Current) -> None:
        found.append(Work.VERIFY)

    async def watch(_: Current) -> None:
        found.append(Work.WATCH)

    repository = OneSession(status)
    services = Services(
        database=cast(Database, None),
        repository=cast(Repository, repository),
        steps={Work.VERIFY: verify, Work.WATCH: watch},
        closer=cast(Closer, None),
    )
    await services.verify_session(session_id or repository.current.session.id)
    return found


@pytest.mark.parametrize("status", SessionStatus)
async def test_the_task_does_the_work_of_the_status_or_nothing(status: SessionStatus) -> None:
    mine = NEXT_TASK[status] == VERIFY_TASK
    assert await done(status) == ([NEXT_WORK[status]] if mine else [])


async def test_a_session_that_is_gone_is_no_work() -> None:
    assert await done(SessionStatus.ACTIVE, "no-such-session") == []
