"""Which cause a worker finds behind an exception."""

import pytest
from aiohttp import ClientResponseError, RequestInfo
from livekit import rtc
from livekit.agents import APIConnectionError, APIError, APIStatusError, APITimeoutError
from livekit.agents.stt import STTError
from livekit.agents.voice.events import ErrorEvent
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from rollcall_agent.job.diagnose import MAX_MESSAGE, ModelRefused, diagnose, diagnose_event
from rollcall_agent.report import MAX_ERRORS, Reporter
from shared.contracts.causes import Cause
from tests.unit.agent.agent_fakes import FACTS, ListedOutbox, an_order


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (APIStatusError("no such model", status_code=404), Cause.MODEL_MISCONFIGURED),
        (APIStatusError("bad request", status_code=400), Cause.MODEL_MISCONFIGURED),
        (APIStatusError("too many", status_code=429), Cause.INFERENCE_QUOTA),
        (APIStatusError("broken", status_code=500), Cause.INFERENCE_UNAVAILABLE),
        (APIStatusError("closed", status_code=-1), Cause.INFERENCE_UNAVAILABLE),
        (APIError("frame", body={"code": 404}), Cause.MODEL_MISCONFIGURED),
        (APIConnectionError(), Cause.INFERENCE_UNAVAILABLE),
        (APITimeoutError(), Cause.INFERENCE_UNAVAILABLE),
        (ModelRefused("x/y", "no voice"), Cause.MODEL_MISCONFIGURED),
        (rtc.ConnectError("ice failed"), Cause.NEVER_CONNECTED),
        (ZeroDivisionError("division by zero"), Cause.ENTRYPOINT_FAILED),
    ],
)
def test_the_cause_of(error: Exception, cause: Cause) -> None:
    found = diagnose(error)
    assert (found.cause, found.type) == (cause, type(error).__name__)
    assert found.message


def test_a_status_is_found_behind_a_connection_error() -> None:
    url = URL("ws://inference/v1/realtime?model=openai/gpt-realtime")
    request = RequestInfo(url, "GET", CIMultiDictProxy(CIMultiDict()), url)
    error = APIConnectionError("client connection error")
    error.__cause__ = ClientResponseError(request, (), status=404)
    found = diagnose(error)
    assert found.cause is Cause.MODEL_MISCONFIGURED
    assert found.message.startswith("client connection error")
    assert found.message.endswith("; this gateway has no realtime models, or not this one")


def test_an_event_tells_the_model_and_whether_it_may_recover() -> None:
    class Model:
        model = "deepgram/nova-9"

    error = APIStatusError("not found", status_code=404)
    event = ErrorEvent(
        error=STTError(timestamp=1.0, label="stt", error=error, recoverable=True), source=Model()
    )
    found = diagnose_event(event)
    assert (found.cause, found.descriptor) == (Cause.MODEL_MISCONFIGURED, "deepgram/nova-9")
    assert found.recoverable


def test_messages_are_cut() -> None:
    assert len(diagnose(ValueError("x" * 10_000)).message) == MAX_MESSAGE


def test_an_error_is_reported_once_and_a_flood_of_them_ends() -> None:
    outbox = ListedOutbox()
    reporter = Reporter(order=an_order(), facts=FACTS, outbox=outbox)
    for _ in range(3):
        reporter.error(diagnose(ValueError("same")))
    assert len(outbox.offered) == 1
    for n in range(100):
        reporter.error(diagnose(ValueError(f"other {n}")))
    assert len(outbox.offered) == MAX_ERRORS
