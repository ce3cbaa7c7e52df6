"""Railway's service definitions: what they may say, and that each command serves its health check with it."""

import asyncio
import json
import re
import shlex
import socket
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from devstack.environment import clean_environment
from devstack.ports import free_port
from devstack.probes import http_ready
from devstack.process import Process, ProcessSpec
from devstack.servers import LiveKitServer

ROOT = Path(__file__).parents[3]
DEFINITIONS = sorted((ROOT / "deploy" / "railway").glob("*.json"))
# What a service of ours may say of what Railway's schema has (docs.railway.com/config-as-code/reference,
# read in November 2026), and of which type. Seconds as text are refused there.
BUILD = {"builder": str, "dockerfilePath": str, "watchPatterns": list}
DEPLOY = {
    "startCommand": str,
    "preDeployCommand": list,
    "healthcheckPath": str,
    "healthcheckTimeout": int,
    "restartPolicyType": str,
    "overlapSeconds": int,
    "drainingSeconds": int,
}


def definition(file: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(file.read_text())
    return read


def image_variables(service: str) -> dict[str, str]:
    """What the image itself sets, by its stage of the Dockerfile."""
    stage = re.search(rf"^FROM \w+ AS {service}$(.*?)(?=^FROM )", dockerfile(), re.MULTILINE | re.DOTALL)
    assert stage is not None
    lines = re.findall(r"^ENV (.+)$", stage[1], re.MULTILINE)
    return dict(pair.split("=", 1) for line in lines for pair in shlex.split(line))


def dockerfile() -> str:
    return (ROOT / "deploy" / "Dockerfile").read_text()


def test_each_process_has_a_definition_and_the_script_makes_each() -> None:
    services = {file.stem for file in DEFINITIONS}
    assert services == {"api", "dispatcher", "verifier", "transcripts", "webhooks", "agent"}
    script = (ROOT / "deploy" / "railway" / "setup.sh").read_text()
    assert set(re.findall(r"^add (\w+)", script, re.MULTILINE)) == services


def test_the_image_that_railway_builds_is_chosen_by_a_variable() -> None:
    assert dockerfile().rstrip().splitlines()[-1] == "FROM ${ROLLCALL_SERVICE} AS chosen"
    before_the_first_stage = dockerfile().split("\nFROM ")[0]
    assert "\nARG ROLLCALL_SERVICE=" in before_the_first_stage


@pytest.mark.parametrize("file", DEFINITIONS, ids=lambda file: file.stem)
def test_a_definition_says_only_what_railways_schema_has(file: Path) -> None:
    read = definition(file)
    assert set(read) == {"$schema", "build", "deploy"}
    for part, allowed in (("build", BUILD), ("deploy", DEPLOY)):
        for name, value in read[part].items():
            assert type(value) is allowed[name], name
    assert read["build"]["builder"] == "DOCKERFILE"
    assert (ROOT / read["build"]["dockerfilePath"]).is_file()
    assert read["deploy"]["restartPolicyType"] == "ALWAYS", "a broker that restarts ends a Celery worker"
    assert read["deploy"]["startCommand"] == f"python -m services.{file.stem}"


def as_railway_starts_it(service: str, env: dict[str, str], folder: Path) -> tuple[Process, str]:
    """The service with the variables of its image and of Railway, and the path of its health check."""
    deploy = definition(ROOT / "deploy" / "railway" / f"{service}.json")["deploy"]
    program, *arguments = shlex.split(deploy["startCommand"])
    assert program == "python"
    port = free_port()
    variables = {
        **image_variables(service),
        **env,
        "PYTHONPATH": str(ROOT),
        "PORT": str(port),
        "RAILWAY_ENVIRONMENT": "production",
        "RAILWAY_SERVICE_NAME": service,
        "RAILWAY_PRIVATE_DOMAIN": f"{service}.railway.internal",
        "RAILWAY_PROJECT_NAME": "rollcall",
    }
    spec = ProcessSpec(
        name=service,
        command=[sys.executable, *arguments],
        env=clean_environment(variables),
        cwd=folder,
        log_file=folder / f"{service}.log",
        ready=http_ready(f"http://127.0.0.1:{port}{deploy['healthcheckPath']}"),
        ready_timeout_s=120,
        restart=False,
    )
    return Process(spec, notify=lambda *_: None), f"{port}{deploy['healthcheckPath']}"


async def test_each_service_answers_its_health_check_on_both_families(
    livekit_server: LiveKitServer, postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    env = {
        "LIVEKIT_URL": livekit_server.url,
        "LIVEKIT_API_KEY": livekit_server.api_key,
        "LIVEKIT_API_SECRET": livekit_server.api_secret,
        "REDIS_URL": redis_url,
        "DATABASE_URL": postgres_url,
        "API_AUTH": "keys",
        "AGENT_IDLE_PROCESSES": "0",
        "AGENT_SPOOL_DIR": str(tmp_path / "spool"),
    }
    started = {file.stem: as_railway_starts_it(file.stem, env, tmp_path) for file in DEFINITIONS}
    hosts = ["127.0.0.1", *(["[::1]"] if socket.has_dualstack_ipv6() else [])]
    try:
        await asyncio.gather(*(process.start() for process, _ in started.values()))
        async with httpx.AsyncClient(timeout=30) as client:
            for service, (_, check) in started.items():
                for host in hosts:
                    answer = await client.get(f"http://{host}:{check}")
                    assert answer.status_code == 200, (service, host, answer.text)
    finally:
        await asyncio.gather(*(process.stop() for process, _ in started.values()))
