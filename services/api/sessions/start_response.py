"""The answer to a start: at once, or when the agent has joined; and to a request sent again, as it was."""

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
from services.api.sessions.wait import check_not_lost, is_settled
from services.api.token.participant_token import mint_participant_token
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
    """Start a session and return the answer, its status and headers in `response`; raises `Problem`."""
    answer = _Answer(services, response, wait_s)
    if key is None:
        return await answer.first(await _start(wanted, asking, services))
    keys = Keys(services.database, ttl_s=services.settings.idempotency_key_ttl_s, now=utc_now)
    known = await keys.find(key)
    if known is None:
        try:
            row = await _start(wanted, asking, services, keys.claim(key, wait_s))
        except SeenBefore as seen:
            known = seen.row
        else:
            return await answer.first_and_kept(row, keys, key)
    try:
        return await answer.again(known, keys, key)
    except Problem as problem:
        metrics.key_seen_before(problem.code)
        raise


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


class _Answer:
    """One answer, its status and headers in `response`. wait_s: how long it may wait for the agent."""

    def __init__(self, services: Services, response: Response, wait_s: int | None) -> None:
        self._services = services
        self._response = response
        self._wait_s = wait_s

    async def first(self, row: SessionRow) -> Started:
        """Answer the request that has made the session."""
        self._say_where(row)
        if self._wait_s is not None:
            headers = self._say_waited(self._wait_s)
            row = await self._services.hub.until(row.id, is_settled, timeout_s=self._wait_s)
            check_not_lost(row, headers=headers)
            self._response.status_code = 200 if is_settled(row) else 202
        return self._started(row)

    async def first_and_kept(self, row: SessionRow, keys: Keys, key: Key) -> Started:
        """The same, and remember it; without a wait, the key is remembered with all that there is to say."""
        if self._wait_s is None:
            return await self.first(row)
        try:
            started = await self.first(row)
        except Problem as problem:
            refusal = {"code": problem.code, "detail": problem.detail, "extra": problem.extra}
            await keys.keep(key, problem.status, {"problem": refusal, "wait_s": self._wait_s})
            raise
        body = started.model_dump(mode="json", exclude={"participant_token"})
        await keys.keep(key, self._response.status_code or 202, {"body": body, "wait_s": self._wait_s})
        return started

    async def again(self, known: IdempotencyKeyRow, keys: Keys, key: Key) -> Started:
        """Answer a request whose key has been seen as the first one was, or will be."""
        check_replayable(known, key, utc_now())
        async with self._services.database.read() as db:
            row = await get_session(db, known.session_id)
        metrics.key_seen_before("replayed")
        self._response.headers[REPLAYED] = "true"
        if known.status is None:
            # The process of the first died before it had an answer; this is the answer now.
            return await self.first_and_kept(row, keys, key)
        self._say_where(row)
        if known.answer is None:
            return self._started(_as_it_began(row))
        return self._kept(known.status, known.answer, row)

    def _kept(self, status: int, answer: dict[str, Any], row: SessionRow) -> Started:
        headers = self._say_waited(answer["wait_s"])
        if refusal := answer.get("problem"):
            raise Problem(status, refusal["code"], refusal["detail"], headers=headers, **refusal["extra"])
        self._response.status_code = status
        token = mint_participant_token(row, self._services.settings)
        return Started.model_validate({**answer["body"], "participant_token": token})

    def _say_where(self, row: SessionRow) -> None:
        self._response.headers["Location"] = f"/v1/sessions/{row.id}"
        self._response.headers["Cache-Control"] = "no-store"

    def _say_waited(self, wait_s: int) -> dict[str, str]:
        self._response.headers["Preference-Applied"] = f"wait={wait_s}"
        return dict(self._response.headers)

    def _started(self, row: SessionRow) -> Started:
        settings = self._services.settings
        return Started(
            session_id=row.id,
            room_name=row.room_name,
            server_url=settings.livekit_public_url or settings.livekit_url,
            participant_token=mint_participant_token(row, settings),
            participant_identity=row.participant_identity,
            status=SessionStatus(row.status),
            agent_identity=row.agent_identity,
            timings=Timings.model_validate(row, from_attributes=True),
        )


def _as_it_began(row: SessionRow) -> SessionRow:
    """The session as it was when it was requested, which is what the first answer told."""
    told = {"id", "room_name", "participant_identity", "participant_name", "requested_at"}
    return SessionRow(status=SessionStatus.REQUESTED, **row.model_dump(include=told))
