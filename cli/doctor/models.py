"""Check the models: whether the inference endpoint has those that the agents use."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from livekit import api
from redis.exceptions import RedisError

from cli.doctor.environment import SettingsProbe
from cli.doctor.findings import Finding, failed, passed, skipped, warned
from cli.doctor.surroundings import Surroundings
from cli.doctor.workers import fleet_of
from shared.contracts.causes import ADVICE, Cause

NAME: Final = "inference"
GATEWAY: Final = "https://agent-gateway.livekit.cloud/v1"
TIMEOUT_S: Final = 7.0
_VARIABLES: Final = {"stt": "AGENT_STT", "llm": "AGENT_LLM", "tts": "AGENT_TTS"}


async def check_models(surroundings: Surroundings, probe: SettingsProbe) -> Sequence[Finding]:
    """Check language models by the endpoint's list, and speech models by opening a connection to each."""
    env = surroundings.env
    key = env.get("LIVEKIT_INFERENCE_API_KEY") or env.get("LIVEKIT_API_KEY")
    secret = env.get("LIVEKIT_INFERENCE_API_SECRET") or env.get("LIVEKIT_API_SECRET")
    if not key or not secret:
        return [skipped(NAME, "there is no key: LIVEKIT_API_KEY and LIVEKIT_API_SECRET")]
    base = _http(env.get("LIVEKIT_INFERENCE_URL") or GATEWAY)
    headers = {"Authorization": f"Bearer {_token(key, secret)}"}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, trust_env=True) as http:
        try:
            async with http.get(f"{base}/models") as answer:
                status, body = answer.status, await answer.read()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            why = f"{base} does not answer: {error or type(error).__name__}"
            return [failed(NAME, why, ADVICE[Cause.INFERENCE_UNAVAILABLE])]
        if status != 200:
            return [_refused(base, status)]
        names = _ids(body)
        wanted = await _wanted(surroundings, probe)
        checks = (_model(http, base, kind, model, names) for kind, model in wanted)
        return [passed(NAME, f"{base} lists {len(names)} language models"), *await asyncio.gather(*checks)]


def _http(url: str) -> str:
    return ("http" + url.removeprefix("http").removeprefix("ws")).rstrip("/")


def _token(key: str, secret: str) -> str:
    token = api.AccessToken(key, secret).with_ttl(timedelta(minutes=1)).with_identity("rollcall-doctor")
    return str(token.with_inference_grants(api.InferenceGrants(perform=True)).to_jwt())


def _refused(base: str, status: int) -> Finding:
    if status in (401, 403):
        fix = "LIVEKIT_INFERENCE_API_KEY and _SECRET (default: LiveKit's) must match this endpoint's project"
        return failed(NAME, f"{base} refuses the key ({status})", fix)
    quota = status in (402, 429)
    return failed(
        NAME,
        f"{base} answers {status}",
        ADVICE[Cause.INFERENCE_QUOTA if quota else Cause.INFERENCE_UNAVAILABLE],
    )


def _ids(body: bytes) -> list[str]:
    with suppress(ValueError, KeyError, TypeError):
        return sorted(str(entry["id"]) for entry in json.loads(body)["data"])
    return []


async def _wanted(surroundings: Surroundings, probe: SettingsProbe) -> list[tuple[str, str]]:
    """Return the models that this environment sets and that live workers report, each once."""
    sets: list[Mapping[str, Any]] = [(await probe.read())["models"]]
    with suppress(RedisError, OSError, ValueError):
        sets += [worker.models.model_dump() for worker in (await fleet_of(surroundings)).workers]
    found = {(kind, models[kind]) for models in sets for kind in _VARIABLES if models.get(kind)}
    return sorted(found, key=lambda pair: (list(_VARIABLES).index(pair[0]), pair[1]))


async def _model(
    http: aiohttp.ClientSession, base: str, kind: str, model: str, names: Sequence[str]
) -> Finding:
    check = f"model: {kind}"
    if kind == "llm":
        if not names:
            return skipped(check, f"{model}: the endpoint names no models")
        known = model in names
    else:
        try:
            known = await _speaks(http, base, kind, model)
        except (aiohttp.ClientError, OSError) as error:
            why = f"{model}: {error or type(error).__name__}"
            return warned(check, why, ADVICE[Cause.INFERENCE_UNAVAILABLE])
    if known:
        return passed(check, model)
    near = get_close_matches(model.partition(":")[0], names, n=1) if kind == "llm" else []
    hint = f"; nearest: {near[0]}" if near else ""
    return failed(
        check, f"the endpoint has no {model}", f"correct {_VARIABLES[kind]} in the worker's environment{hint}"
    )


async def _speaks(http: aiohttp.ClientSession, base: str, kind: str, model: str) -> bool:
    """Return whether a connection to this model opens; it sends nothing. Raises `aiohttp.ClientError`."""
    url = f"{base}/{kind}?{urlencode({'model': model})}"
    try:
        async with http.ws_connect(url.replace("http", "ws", 1)):
            return True
    except aiohttp.WSServerHandshakeError as refused:
        if refused.status in (400, 404, 422):
            return False
        raise
