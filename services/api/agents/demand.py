"""How many slots the workers of an agent name should have now.

Counted from the registry and the database, so that each replica of the API answers with the same number.
"""

from typing import Final

from sqlalchemy import func, select
from sqlmodel import col

from services.api.agents.schemas import Demand
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.tables import SessionRow
from shared.core.workers.registry import Fleet
from shared.platform.database.database import Database

_WITHOUT_AGENT: Final = (SessionStatus.REQUESTED, SessionStatus.DISPATCHING, SessionStatus.DISPATCHED)


async def read_demand(
    database: Database, fleet: Fleet, *, agent_name: str, deployment: str | None, buffer: int
) -> Demand:
    """Return the demand of one pool, or of all pools together."""
    named = [
        worker
        for worker in fleet.workers
        if worker.agent_name == agent_name and deployment in (None, worker.deployment)
    ]
    # One that drains is about to go; its calls move to no other worker.
    staying = [worker for worker in named if not worker.draining]
    busy = sum(worker.active_jobs for worker in staying)
    withheld = sum(
        max(0, worker.max_jobs - worker.active_jobs)
        for worker in staying
        if worker.cordoned or worker.is_left_out
    )
    waiting = await _without_agent(database, agent_name, deployment) - fleet.sessions(agent_name)
    return Demand(
        agent_name=agent_name,
        deployment=deployment,
        wanted=busy + withheld + len(waiting) + buffer,
        busy=busy,
        withheld=withheld,
        waiting=len(waiting),
        buffer=buffer,
        slots=sum(worker.max_jobs for worker in staying),
    )


async def _without_agent(database: Database, agent_name: str, deployment: str | None) -> set[str]:
    # Every live session is due some time: the index of those keeps this query off all that are over.
    wanted = select(col(SessionRow.id)).where(
        col(SessionRow.next_check_at).is_not(None),
        col(SessionRow.status).in_(_WITHOUT_AGENT),
        col(SessionRow.agent_name) == agent_name,
    )
    if deployment is not None:
        wanted = wanted.where(func.coalesce(col(SessionRow.deployment), "") == deployment)
    async with database.read() as db:
        return set(await db.scalars(wanted))
