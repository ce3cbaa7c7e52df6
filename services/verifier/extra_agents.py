"""Take the agents out of a room that should not be there: a session has one."""

from services.verifier import metrics
from services.verifier.ports import Rooms
from services.verifier.prove.observe import Sighting
from services.verifier.repository import Repository
from shared.core.sessions.tables import SessionRow
from shared.platform.livekit.client import LiveKitError, NotFound
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)


async def remove_extra_agents(
    row: SessionRow, sighting: Sighting, *, rooms: Rooms, repository: Repository
) -> None:
    """Take out the extra agents that a look has shown, and tell of each; those who stay are met again."""
    await _tell_of_foreign(row, sighting, rooms=rooms, repository=repository)
    for extra in sighting.extra:
        log.warning("extra_agent_found", participant_identity=extra.identity)
        try:
            await rooms.remove_participant(row.room_name, extra.identity)
        except NotFound:
            continue
        except LiveKitError as error:
            log.warning("extra_agent_not_removed", error=str(error))
            continue
        metrics.extra_agent_removed()
        await repository.extra_removed(row, extra.identity)


async def _tell_of_foreign(
    row: SessionRow, sighting: Sighting, *, rooms: Rooms, repository: Repository
) -> None:
    """Agents that nobody dispatched: out of a room that we have named, and told of in any."""
    for agent in sighting.foreign:
        removed = row.room_is_ours
        try:
            if removed:
                await rooms.remove_participant(row.room_name, agent.identity)
        except NotFound:
            pass  # the dispatcher has withdrawn it
        except LiveKitError as error:
            removed = False
            log.warning("foreign_agent_not_removed", error=str(error))
        await repository.foreign_agent_seen(row, agent.identity, removed=removed)
