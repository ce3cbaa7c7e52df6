"""An agent worker finds out whether its inference endpoint would serve a call."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
from aiohttp import web

from services.agent import inference
from services.agent.inference import InferenceCheck
from services.agent.settings import AgentSettings
from services.inference.auth import Gatekeeper
from services.inference.request_refused import RequestRefused
from shared.contracts.causes import Cause
from shared.platform.background import running
from tests.stack_fixtures.waiting import eventually

SECRET = "a secret of enough length, more than 32 bytes"


class Endpoint:
    """Answers as it is told to; counts how often it was asked, and hangs while it is not `open`."""

    def __init__(self, port: int) -> None:
        self.url = f"ws://user:hunter2@127.0.0.1:{port}/v1"
        self.status = 200
        self.body = json.dumps({"data": [{"id": "openai/gpt-5-mini"}, {"id": "openai/gpt-5"}]})
        self.asked = 0
        self.tokens: list[str | None] = []
        self.open = asyncio.Event()
        self.open.set()

    async def models(self, request: web.Request) -> web.Response:
        self.asked += 1
        self.tokens.append(request.headers.get("Authorization"))
        await self.open.wait()
        return web.Response(status=self.status, text=self.body)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_get("/v1/models", self.models)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        port = int(self.url.rpartition(":")[2].partition("/")[0])
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield
        finally:
            await runner.cleanup()


@pytest.fixture
async def endpoint(free_port: int) -> Endpoint:
    return Endpoint(free_port)


@pytest.fixture
async def check(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[InferenceCheck]:
    monkeypatch.chdir(tmp_path)
    for name, value in {"URL": "ws://127.0.0.1:7880", "API_KEY": "key", "API_SECRET": SECRET}.items():
        monkeypatch.setenv(f"LIVEKIT_{name}", value)
    monkeypatch.setenv("LIVEKIT_INFERENCE_URL", endpoint.url)
    check = InferenceCheck(AgentSettings())
    yield check
    await check.aclose()


async def test_an_endpoint_that_answers_is_no_fault_and_gets_the_sdks_kind_of_token(
    endpoint: Endpoint, check: InferenceCheck
) -> None:
    async with endpoint.listening():
        assert await check.look() is None
    gatekeeper = Gatekeeper(api_key="key", api_secret=AgentSettings().livekit_api_secret)
    [token] = endpoint.tokens
    gatekeeper.check(token)
    with pytest.raises(RequestRefused):
        gatekeeper.check(None)


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (401, Cause.INFERENCE_UNAVAILABLE),
        (403, Cause.INFERENCE_UNAVAILABLE),
        (402, Cause.INFERENCE_QUOTA),
        (429, Cause.INFERENCE_QUOTA),
        (500, Cause.INFERENCE_UNAVAILABLE),
        (503, Cause.INFERENCE_UNAVAILABLE),
        (599, Cause.INFERENCE_UNAVAILABLE),
        (404, None),
        (418, None),
        (499, None),
    ],
)
async def test_what_an_answer_means(
    status: int, cause: Cause | None, endpoint: Endpoint, check: InferenceCheck
) -> None:
    endpoint.status = status
    async with endpoint.listening():
        fault = await check.look()
    assert (fault.cause if fault else None) == cause
    assert fault is None or f"/v1/models answers {status}" in fault.detail
    assert not check.lacks("openai/gpt-9"), "nobody knows what it has"


async def test_an_endpoint_that_is_down_is_a_fault_until_it_is_back(
    endpoint: Endpoint, check: InferenceCheck
) -> None:
    with structlog.testing.capture_logs() as logs:
        first = await check.look()
        second = await check.look()
        assert first is not None
        assert second is not None
        assert (first.cause, first.since) == (Cause.INFERENCE_UNAVAILABLE, second.since)
        async with endpoint.listening():
            assert await check.look() is None
    assert [entry["event"] for entry in logs] == ["inference_fault", "inference_restored"]
    told = f"{logs} {first}"
    assert "hunter2" not in told
    assert "Bearer" not in told
    assert SECRET not in told


async def test_a_burst_of_offers_asks_once_and_fresh_knowledge_is_used_again(
    endpoint: Endpoint, check: InferenceCheck
) -> None:
    async with endpoint.listening():
        assert await asyncio.gather(*(check.look() for _ in range(20))) == [None] * 20
        assert await check.look() is None
        assert endpoint.asked == 1


async def test_a_model_is_missing_only_from_a_list_that_has_our_own(
    endpoint: Endpoint, check: InferenceCheck
) -> None:
    async with endpoint.listening():
        await check.look()
        assert check.lacks("openai/gpt-9")
        assert not check.lacks("openai/gpt-5")


@pytest.mark.parametrize("body", ['{"data": [{"id": "x/y"}, 1]}', "[]", '{"data": 1}', "soon", "", "\\xff"])
async def test_a_list_that_is_strange_proves_nothing(
    body: str, endpoint: Endpoint, check: InferenceCheck
) -> None:
    endpoint.body = body
    async with endpoint.listening():
        assert await check.look() is None
    assert not check.lacks("openai/gpt-9")


async def test_an_endpoint_that_hangs_is_a_fault_and_a_slow_one_is_not(
    endpoint: Endpoint, check: InferenceCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "PATIENCE_S", 0.05)
    monkeypatch.setattr(inference, "TIMEOUT_S", 3600.0)
    endpoint.open.clear()
    async with endpoint.listening():
        assert await check.look() is None
        endpoint.open.set()
        await eventually(lambda: check.lacks("openai/gpt-9"))
        assert check.fault is None
        monkeypatch.setattr(inference, "FRESH_S", -1.0)
        monkeypatch.setattr(inference, "TIMEOUT_S", 0.05)
        monkeypatch.setattr(inference, "PATIENCE_S", 3600.0)
        endpoint.open.clear()
        fault = await check.look()
        assert fault is not None
        assert fault.cause is Cause.INFERENCE_UNAVAILABLE
        endpoint.open.set()


async def test_the_worker_looks_by_itself_again_and_again(
    endpoint: Endpoint, check: InferenceCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "INTERVAL_S", 0.01)
    async with running(inference=check.run):
        await eventually(lambda: check.fault is not None)
        async with endpoint.listening():
            await eventually(lambda: check.fault is None)
