"""Run all checks for one environment."""

from dataclasses import replace
from pathlib import Path

from cli.client.target import DEFAULT_API, Target
from cli.doctor.agents import check_agents
from cli.doctor.api import check_api
from cli.doctor.broker import check_broker
from cli.doctor.database import check_database
from cli.doctor.environment import SettingsProbe, check_environment
from cli.doctor.findings import Check, Finding, run_checks
from cli.doctor.livekit import check_livekit
from cli.doctor.models import check_models
from cli.doctor.redis import check_redis
from cli.doctor.surroundings import Surroundings
from cli.doctor.webhook import PATH, check_arrivals, check_webhook
from cli.doctor.workers import check_workers


async def examine(
    api: str | None,
    key: str | None,
    state: Path,
    *,
    env_file: Path | None = None,
    webhook_url: str | None = None,
    limit_s: float = 8.0,
) -> list[Finding]:
    """Check a deployment through its environment; raises `OSError` if the file can't be read."""
    if env_file is None:
        here = Surroundings.of_user(state)
        target = Target.of(api, key, state)
    else:
        here = Surroundings.of_file(env_file)
        target = Target(api or _address(here), key or here.env.get("ROLLCALL_API_KEY"))
    target = replace(target, url=target.url.rstrip("/"))
    probe = SettingsProbe(here)
    hook = webhook_url or f"{target.url}{PATH}"
    checks: dict[str, Check] = {
        "environment": lambda: check_environment(here, probe),
        "livekit": lambda: check_livekit(here),
        "redis": lambda: check_redis(here),
        "broker": lambda: check_broker(here),
        "database": lambda: check_database(here),
        "workers": lambda: check_workers(here),
        "agents": lambda: check_agents(here),
        "inference": lambda: check_models(here, probe),
        "api": lambda: check_api(target),
        "webhook": lambda: check_webhook(here, hook),
        "webhook: sent": lambda: check_arrivals(here, hook),
    }
    return await run_checks(checks, limit_s=limit_s, secrets={*here.secrets, *filter(None, [target.key])})


def _address(here: Surroundings) -> str:
    """Return the API's address by the deployment's own variables."""
    if url := here.env.get("ROLLCALL_URL"):
        return url
    if port := here.env.get("API_PORT"):
        host = here.env.get("API_HOST", "127.0.0.1")
        return f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}"
    return DEFAULT_API
