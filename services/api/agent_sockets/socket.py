"""One socket, from its handshake to its end: read a frame, do the call, answer, and again."""

import json
import time
from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from services.api import metrics
from services.api.agent_sockets.caller import Caller, key_pair, who_is_worker
from services.api.agent_sockets.calls import CallRefused, Calls
from services.api.agent_sockets.pace import Pace
from services.api.deps import Services
from services.api.errors.problems import MEDIA_TYPE, Problem, bare, without_database
from shared.contracts.agent_calls import Answer, CallRefusal, RefusalCode, Request
from shared.platform.database.errors import DATABASE_ERRORS
from shared.platform.logs.logs import get_logger
from shared.platform.redis.streams import UNREACHABLE

log = get_logger(__name__)

# How long a revoked key may keep a socket open.
KEY_CHECKED_EVERY_S: Final = 30.0
# RFC 6455, section 7.4.1: the message violates the policy.
POLICY_VIOLATION: Final = 1008

Who = Callable[[WebSocket, Services], Awaitable[Caller]]


async def serve(socket: WebSocket, services: Services, *, who: Who) -> None:
    """Serve one socket until its client leaves."""
    try:
        caller = await who(socket, services)
        services.agent_sockets.check(caller.owner, most=caller.most_sockets)
    except Problem as problem:
        await _refuse(socket, problem)
        return
    except DATABASE_ERRORS as error:
        await _refuse(socket, without_database(error))
        return
    with services.agent_sockets.entered(caller.owner):
        calls = Calls(
            caller,
            redis=services.redis,
            beats=services.job_beats,
            key_pair=key_pair(services.settings),
        )
        try:
            await socket.accept()
            await _answer_for_ever(socket, services, calls, has_key=caller.has_key)
        except WebSocketDisconnect:
            log.debug("agent_socket_closed", owner=caller.owner)
        finally:
            await calls.aclose()


async def _answer_for_ever(socket: WebSocket, services: Services, calls: Calls, *, has_key: bool) -> None:
    pace, checked_at = Pace(), time.monotonic()
    while True:
        frame = await socket.receive_text()
        await pace.keep(len(frame))
        if has_key and time.monotonic() - checked_at > KEY_CHECKED_EVERY_S:
            checked_at = time.monotonic()
            if (problem := await _key_refused(socket, services)) is not None:
                await socket.close(POLICY_VIOLATION, problem.code)
                return
        answer = await _answer(frame, calls)
        await socket.send_text(answer.model_dump_json(exclude_none=True))


async def _answer(frame: str, calls: Calls) -> Answer:
    """Do the call in a frame. A failure of ours is logged, and the client may ask again."""
    try:
        request = Request.parse(frame)
    except ValidationError as invalid:
        return Answer(id=_number_in(frame), refusal=_malformed(invalid))
    refusal: CallRefusal
    try:
        result = await calls.do(request.call)
    except CallRefused as refused:
        refusal = refused.refusal
        log.warning("agent_call_refused", call=request.call.call, code=refusal.code, detail=refusal.detail)
    except UNREACHABLE as error:
        refusal = _unavailable("Rollcall can't reach its Redis; ask again")
        log.warning("agent_call_failed", call=request.call.call, error=repr(error))
    except Exception:
        refusal = _unavailable("something went wrong on Rollcall's side; it is logged")
        log.exception("agent_call_failed", call=request.call.call)
    else:
        metrics.agent_call_answered(request.call.call, "done")
        return Answer(id=request.id, result=result)
    metrics.agent_call_answered(request.call.call, refusal.code)
    return Answer(id=request.id, refusal=refusal)


def _malformed(invalid: ValidationError) -> CallRefusal:
    """Name the fields, and not what is in them: callers may have said it."""
    faults = invalid.errors(include_input=False, include_url=False, include_context=False)
    named = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['type']}" for fault in faults[:5])
    return CallRefusal(code=RefusalCode.MALFORMED, detail=named)


def _unavailable(detail: str) -> CallRefusal:
    return CallRefusal(code=RefusalCode.UNAVAILABLE, detail=detail)


def _number_in(frame: str) -> int:
    """The number of a request that can't be read, so that its client can tell which it was; else 0."""
    try:
        number = json.loads(frame).get("id")
    except (ValueError, AttributeError, RecursionError):
        return 0
    return number if isinstance(number, int) else 0


async def _key_refused(socket: WebSocket, services: Services) -> Problem | None:
    try:
        await who_is_worker(socket, services)
    except Problem as problem:
        return problem
    except DATABASE_ERRORS:
        return None  # asked again later; calls go on
    return None


async def _refuse(socket: WebSocket, problem: Problem) -> None:
    metrics.problem_answered(problem.code)
    headers = problem.headers or {}
    await socket.send_denial_response(
        JSONResponse(bare(problem), problem.status, headers, media_type=MEDIA_TYPE)
    )
