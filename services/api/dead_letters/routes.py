"""The routes of dead letters. Each reads the request, calls one function, and builds the answer."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from services.api.auth.access import Admin, Principal
from services.api.dead_letters.of_project import DeadLettersOf, redis_answering
from services.api.dead_letters.schemas import (
    DeadLetter,
    DeadLetterContent,
    DeadLetterPage,
    DeadLettersToReplay,
    Origin,
    ReplayedDeadLetters,
)
from services.api.deps import Deps, Services
from services.api.errors.problems import PROBLEMS, Problem, invalid_field
from services.api.http.parameters import Cursor
from shared.contracts.names import Sought
from shared.platform.logs.logs import get_logger
from shared.platform.redis.dead_letters import (
    delete_letter,
    is_letter_id,
    put_back,
    replay_dead_letters,
)

router = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["operations"])
log = get_logger(__name__)


def _of(services: Services, asking: Principal) -> DeadLettersOf:
    return DeadLettersOf(asking.project, services.redis, services.database)


@router.get("/dead-letters", summary="List dead letters")
async def list_(
    *,
    services: Deps,
    asking: Admin,
    stream: Origin | None = None,
    reason: Sought | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Cursor | None = None,
) -> DeadLetterPage:
    """List stream entries that could not be handled, newest first.

    A letter whose session nobody knows belongs to the project `default`.
    """
    if cursor is not None and not is_letter_id(cursor):
        raise invalid_field("cursor", "is not the next_cursor of a page")
    async with services.reading.place(asking.project), redis_answering():
        letters, next_cursor = await _of(services, asking).page(
            stream=stream and stream.stream, reason=reason, limit=limit, cursor=cursor
        )
    return DeadLetterPage(dead_letters=[DeadLetter.of(each) for each in letters], next_cursor=next_cursor)


@router.get("/dead-letters/{letter_id}", summary="Read a dead letter")
async def read(services: Deps, response: Response, asking: Admin, letter_id: str) -> DeadLetterContent:
    """Read a dead letter with its entry, which may hold what a caller said."""
    response.headers["Cache-Control"] = "no-store"
    async with redis_answering():
        return DeadLetterContent.of(await _of(services, asking).get(letter_id))


@router.post("/dead-letters/{letter_id}/replay", status_code=202, summary="Put a dead letter back")
async def replay(services: Deps, asking: Admin, letter_id: str) -> DeadLetter:
    """Put the entry back on its stream. It becomes a dead letter again if the fault is still there."""
    async with redis_answering():
        letter = await _of(services, asking).get(letter_id)
        if not letter.can_go_back:
            detail = f"nothing of the dead letter {letter_id} can be put back on {letter.stream!r}"
            raise Problem(409, "dead_letter_empty", detail)
        await put_back(services.redis, letter)
    log.info("dead_letters_replayed", letters=1, stream=letter.stream, key_id=asking.key_id)
    return DeadLetter.of(letter)


@router.post("/dead-letter-replays", status_code=202, summary="Put dead letters back")
async def replay_all(services: Deps, asking: Admin, wanted: DeadLettersToReplay) -> ReplayedDeadLetters:
    """Put all matching entries back on their streams, the oldest first; `dry_run` only counts them."""
    async with services.reading.place(asking.project), redis_answering():
        outcome = await replay_dead_letters(
            services.redis,
            stream=wanted.stream and wanted.stream.stream,
            reason=wanted.reason,
            limit=wanted.limit,
            dry_run=wanted.dry_run,
            among=_of(services, asking).among,
        )
    replayed = outcome.replayed.total()
    if replayed:
        log.info("dead_letters_replayed", letters=replayed, stream=wanted.stream, key_id=asking.key_id)
    return ReplayedDeadLetters.of(outcome)


@router.delete("/dead-letters/{letter_id}", status_code=204, summary="Delete a dead letter")
async def delete(services: Deps, asking: Admin, letter_id: str) -> Response:
    """Delete a dead letter with what it holds, for good."""
    async with redis_answering():
        letter = await _of(services, asking).get(letter_id)
        await delete_letter(services.redis, letter.id)
    log.info("dead_letter_deleted", stream=letter.stream, reason=letter.reason, key_id=asking.key_id)
    return Response(status_code=204)
