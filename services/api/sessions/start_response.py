"""The answer to a start: at once, or when the agent has joined. A repeated request gets the same answer."""

from typing import Any

from fastapi import Response

from services.api import metrics
from services.api.auth.access import Principal
from services.api.deps import Services
from services.api.errors.problems import Problem
from services.api.sessions.idempotency import REPLAYED, Key, Keys, SeenBefore, check_replayable
from services.api.sessions.read import get_session
from services.api.sessions.schemas import Started, StartSession, Timings
from services.api.sessions.start import First, start_session
from services.api.sessions.wait import check_not_lost, is_settled, until_settled
from services.api.settings import ApiSettings
from services.api.token.participant_token import mint_participant_token, say_where
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.tables import IdempotencyKeyRow, SessionRow
from shared.platform.clock import utc_now


async def start_and_answer(
    wanted: StartSession,
    *,
    asking: Principal,
    key: Key | None,
    wait_s: int | None,
    services: Services,
    response: Response,
) -> Started:
    """Start a session and return the answer, with status and headers in `response`; raises `Problem`.

    1. Write the session, or find the one that an earlier request with the same key has written.
    2. The earlier request was answered: answer the same.
    3. The client waits for no agent: answer at once.
    4. Wait for the agent, answer, and keep the answer under the key.
    """
    keys = Keys(services.database, ttl_s=services.settings.idempotency_key_ttl_s, now=utc_now)
    row, earlier = await _start_once(wanted, asking, services, keys=keys, key=key, wait_s=wait_s)
    say_where(row, response)
    if earlier is not None:
        response.headers[REPLAYED] = "true"
        if earlier.status is not None:
            return _as_answered(earlier.status, earlier.answer, row, services.settings, response)
        # The earlier request's process died before it had an answer; this is the answer now.
    if wait_s is None:
        return _started(row, services.settings)
    try:
        started = await _wait_for_agent(row, wait_s, services, response)
    except Problem as problem:
        if key is not None:
            refusal = {"code": problem.code, "detail": problem.detail, "extra": problem.extra}
            await keys.keep(key, problem.status, {"problem": refusal, "wait_s": wait_s})
        raise
    if key is not None:
        body = started.model_dump(mode="json", exclude={"participant_token"})
        await keys.keep(key, response.status_code or 202, {"body": body, "wait_s": wait_s})
    return started


async def _start_once(
    wanted: StartSession,
    asking: Principal,
    services: Services,
    *,
    keys: Keys,
    key: Key | None,
    wait_s: int | None,
) -> tuple[SessionRow, IdempotencyKeyRow | None]:
    """Return the session, and what is known of an earlier request with this key; None if there was none."""
    if key is None:
        return await _start(wanted, asking, services), None
    earlier = await keys.find_earlier(key)
    if earlier is None:
        try:
            return await _start(wanted, asking, services, keys.claim(key, wait_s)), None
        except SeenBefore as seen:
            earlier = seen.row
    return await _session_of(earlier, key, services), earlier


async def _start(
    wanted: StartSession, asking: Principal, services: Services, first: First | None = None
) -> SessionRow:
    try:
        row = await start_session(
            wanted,
            asking=asking,
            settings=services.settings,
            database=services.database,
            relay=services.relay,
            now=utc_now,
            first=first,
        )
    except Problem as problem:
        metrics.session_refused(problem.code)
        raise
    metrics.session_started()
    return row


async def _session_of(earlier: IdempotencyKeyRow, key: Key, services: Services) -> SessionRow:
    """The session that an earlier request has made; raises `Problem` if its answer can't be given again."""
    try:
        check_replayable(earlier, key, utc_now())
        async with services.database.read() as db:
            row = await get_session(db, earlier.session_id)
    except Problem as problem:
        metrics.key_seen_before(problem.code)
        raise
    metrics.key_seen_before("replayed")
    return row


async def _wait_for_agent(row: SessionRow, wait_s: int, services: Services, response: Response) -> Started:
    headers = _say_waited(wait_s, response)
    with services.hub.hints_of(row.id) as hinted:
        row = await until_settled(row.id, hinted, database=services.database, timeout_s=wait_s)
    check_not_lost(row, headers=headers)
    response.status_code = 200 if is_settled(row) else 202
    return _started(row, services.settings)


def _as_answered(
    status: int, answer: dict[str, Any] | None, row: SessionRow, settings: ApiSettings, response: Response
) -> Started:
    """What the earlier request was answered, with a new token; raises `Problem` if it was that."""
    if answer is None:
        return _started(_as_it_began(row), settings)
    headers = _say_waited(answer["wait_s"], response)
    if refusal := answer.get("problem"):
        raise Problem(status, refusal["code"], refusal["detail"], headers=headers, **refusal["extra"])
    response.status_code = status
    return Started.model_validate(
        {**answer["body"], "participant_token": mint_participant_token(row, settings)}
    )


def _say_waited(wait_s: int, response: Response) -> dict[str, str]:
    response.headers["Preference-Applied"] = f"wait={wait_s}"
    return dict(response.headers)


def _started(row: SessionRow, settings: ApiSettings) -> Started:
    return Started(
        session_id=row.id,
        room_name=row.room_name,
        server_url=settings.client_livekit_url,
        participant_token=mint_participant_token(row, settings),
        participant_identity=row.participant_identity,
        status=SessionStatus(row.status),
        agent_identity=row.agent_identity,
        timings=Timings.model_validate(row, from_attributes=True),
    )


def _as_it_began(row: SessionRow) -> SessionRow:
    """Return the session as it was when it was requested, as in the first answer."""
    told = {"id", "room_name", "participant_identity", "participant_name", "requested_at"}
    return SessionRow(status=SessionStatus.REQUESTED, **row.model_dump(include=told))
