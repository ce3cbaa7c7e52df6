"""A dispatcher, and a claim of its repository."""

from pydantic import SecretStr
from redis.asyncio import Redis

from services.dispatcher.claims import Claim
from services.dispatcher.dispatch import Dispatcher
from services.dispatcher.ports import Rooms
from services.dispatcher.repository import Repository
from services.dispatcher.settings import DispatcherSettings
from shared.core.sessions.outbox import Relay
from shared.core.sessions.tables import SessionRow
from shared.platform.database.database import Database
from tests.unit.making import FakeClock


def make_dispatcher(
    database: Database,
    redis: Redis,
    relay: Relay,
    rooms: Rooms,
    clock: FakeClock,
    *,
    wait_for_workers: bool = True,
) -> Dispatcher:
    settings = DispatcherSettings(
        livekit_url="ws://127.0.0.1:7880",
        livekit_api_key="devkey",
        livekit_api_secret=SecretStr("a-secret-of-thirty-two-characters"),
        wait_for_workers=wait_for_workers,
    )
    repository = Repository(database, retry_delay_s=1.0, now=clock)
    return Dispatcher(repository=repository, rooms=rooms, redis=redis, relay=relay, settings=settings)


async def take(repository: Repository, row: SessionRow) -> Claim:
    found = await repository.find_undispatched(row.id)
    assert found is not None
    claim = await repository.claim(found.row)
    assert claim is not None
    return claim
