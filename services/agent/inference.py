"""Check whether the inference endpoint would serve a call, before a caller waits for it.

A session of livekit-agents also asks for the list of models, but ignores the answer: then the agent's first
words fail, many seconds later.
"""

import asyncio
import json
from http import HTTPStatus
from typing import Final

import aiohttp
from livekit.agents.inference._utils import (
    create_access_token,
    extract_quota_usage,
    get_default_inference_url,
)
from livekit.agents.utils import http_context
from yarl import URL

from services.agent import metrics
from services.agent.models import inference_credentials
from services.agent.settings import AgentSettings
from shared.contracts.causes import Cause
from shared.contracts.workers import WorkerFault
from shared.platform.background import stop_all
from shared.platform.clock import Clock, utc_now
from shared.platform.logs.logs import get_logger

INTERVAL_S = 10.0
TIMEOUT_S = 2.0
# If the last check is older than this when a call is offered, it is repeated now, and the call waits at most
# this long for it. With a younger check, the caller does not wait.
FRESH_S = 12.0
PATIENCE_S = 1.0

_CAUSES: Final[dict[int, Cause]] = {
    HTTPStatus.UNAUTHORIZED: Cause.INFERENCE_UNAVAILABLE,
    HTTPStatus.FORBIDDEN: Cause.INFERENCE_UNAVAILABLE,
    HTTPStatus.PAYMENT_REQUIRED: Cause.INFERENCE_QUOTA,
    HTTPStatus.TOO_MANY_REQUESTS: Cause.INFERENCE_QUOTA,
}

log = get_logger(__name__)


class InferenceCheck:
    """Asks the endpoint for its language models, with the same kind of token as the SDK."""

    def __init__(self, settings: AgentSettings, *, clock: Clock = utc_now) -> None:
        self._settings = settings
        self._clock = clock
        self._url = _models_url(settings.livekit_inference_url or get_default_inference_url())
        self._http: aiohttp.ClientSession | None = None
        self._asking: asyncio.Task[None] | None = None
        self._asked_at = float("-inf")
        self._fault: WorkerFault | None = None
        self._models: frozenset[str] | None = None

    @property
    def fault(self) -> WorkerFault | None:
        """The fault at the last check; None if there was none."""
        return self._fault

    async def run(self) -> None:
        """Check repeatedly until cancelled."""
        while True:
            await asyncio.shield(self._ask())
            await asyncio.sleep(INTERVAL_S)

    async def look(self) -> WorkerFault | None:
        """Return what is wrong now. It asks the endpoint, unless all was well a moment ago.

        An endpoint that does not answer in this short time is not at fault yet; only `TIMEOUT_S` decides
        that.
        """
        age = asyncio.get_running_loop().time() - self._asked_at
        if self._fault is not None or age > FRESH_S:
            await asyncio.wait([self._ask()], timeout=PATIENCE_S)
        return self._fault

    def lacks(self, llm: str) -> bool:
        """Return whether the endpoint certainly has no such model.

        Its list is trusted if it contains our own model.
        """
        return (
            self._models is not None and self._settings.agent_llm in self._models and llm not in self._models
        )

    async def aclose(self) -> None:
        """Stop asking and close the connections. Don't call it while `run` is running."""
        if self._asking is not None:
            await stop_all([self._asking])
        if self._http is not None:
            await self._http.close()

    def _ask(self) -> asyncio.Task[None]:
        """Return the running request, or a new one: a burst of offers asks once."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_once(), name="inference-check")
        return self._asking

    async def _ask_once(self) -> None:
        cause: Cause | None = None
        detail = ""
        models: frozenset[str] | None = None
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                self._session().get(self._url, headers=self._head()) as answer,
            ):
                cause = _cause_of(answer.status)
                metrics.inference_quota_told(extract_quota_usage(answer.headers))
                detail = f"{self._url} answers {answer.status} {answer.reason}"
                if answer.status == HTTPStatus.OK:
                    models = _ids_in(await answer.read())
        except (aiohttp.ClientError, OSError) as failure:  # asyncio's TimeoutError is an OSError
            cause = Cause.INFERENCE_UNAVAILABLE
            detail = f"{self._url} can't be reached: {type(failure).__name__}: {failure}"
        self._asked_at = asyncio.get_running_loop().time()
        self._models = models
        self._note(cause, detail)

    def _note(self, cause: Cause | None, detail: str) -> None:
        metrics.inference_checked(up=cause is None)
        before = self._fault
        if cause is None:
            self._fault = None
            if before is not None:
                log.info("inference_restored")
        elif before is None or before.cause is not cause:
            self._fault = WorkerFault(cause=cause, detail=detail, since=self._clock())
            log.warning("inference_fault", cause=cause, detail=detail)
        else:
            self._fault = before.model_copy(update={"detail": detail})

    def _head(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {create_access_token(*inference_credentials(self._settings))}"}

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            # The same trusted certificates and proxies as the SDK's own clients, so that a call gets the same
            # result.
            connector = aiohttp.TCPConnector(ssl=http_context._create_ssl_context(), keepalive_timeout=30)
            self._http = aiohttp.ClientSession(connector=connector, trust_env=True)
        return self._http


def _models_url(base: str) -> URL:
    url = URL(base.rstrip("/") + "/models").with_user(None)  # the token authenticates us
    return url.with_scheme({"ws": "http", "wss": "https"}.get(url.scheme, url.scheme))


def _cause_of(status: int) -> Cause | None:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Cause.INFERENCE_UNAVAILABLE
    return _CAUSES.get(status)


def _ids_in(body: bytes) -> frozenset[str] | None:
    """Return the models' names in an answer in OpenAI's format; None for any other answer."""
    try:
        loaded = json.loads(body)
    except ValueError:
        return None
    entries = loaded.get("data") if isinstance(loaded, dict) else None
    if not isinstance(entries, list):
        return None
    return frozenset(str(entry["id"]) for entry in entries if isinstance(entry, dict) and "id" in entry)
