"""Store turns, and search them."""

from datetime import timedelta
from typing import Any

from services.api.transcripts.schemas import SearchPage
from services.api.transcripts.search.search import Filters, Order, search_turns
from shared.platform.database.database import Database
from tests.integration.rows import a_turn, put_session, store_turns
from tests.unit.making import T0, FakeClock

SAID = (
    "My order number is 4711, and it has not arrived.",  # 1
    "I am sorry. Let me look up order 4711 for you.",  # 2
    "Don't you see it? It was sent to user@example.com!",  # 3
    "Ein CAFÉ in der Straße, bitte; naïve Ärzte.",  # 4
    'look_up_order({"number": 4711})',  # 5
    "order OR not: that is the question",  # 6
    "日本語 テスト",  # 7
    "hello🙂world — “curly” quotes… and state-of-the-art",  # 8
    "हिन्दी भाषा, ภาษาไทย ο Σίσυφος",  # 9
)


async def say(
    database: Database, *texts: str, agent_name: str = "agent", project: str = "default", **fields: Any
) -> str:
    """Store a session in which these turns were said, a second apart; return its id."""
    row = await put_session(database, agent_name=agent_name, project=project)
    turns = [
        a_turn(row.id, seq, text=said, **{"created_at": T0 + timedelta(seconds=seq), **fields})
        for seq, said in enumerate(texts, 1)
    ]
    await store_turns(database, turns, now=FakeClock())
    return row.id


async def search(
    database: Database,
    query: str,
    *,
    order: Order = Order.NEWEST,
    limit: int = 50,
    cursor: str | None = None,
    project: str = "default",
    **filters: Any,
) -> SearchPage:
    return await search_turns(
        database,
        query,
        filters=Filters(**filters),
        order=order,
        limit=limit,
        cursor=cursor,
        project=project,
    )


async def found(database: Database, query: str, **options: Any) -> set[int]:
    return {hit.seq for hit in (await search(database, query, **options)).results}
