"""What Rollcall puts around a server, and when it does nothing."""

import pickle
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import AgentServer, JobContext

from rollcall_agent import Rollcall, current
from rollcall_agent.job.entrypoint import Entrypoint, SessionEnd
from rollcall_agent.settings import SettingsInvalid, read_settings
from rollcall_agent.ways import choose_transport

LIVEKIT = {"ws_url": "ws://127.0.0.1:7880", "api_key": "key", "api_secret": "a-secret-of-the-tests"}


async def entrypoint(ctx: JobContext) -> None:
    """A user's entrypoint."""


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("REDIS_URL", "LIVEKIT_AGENT_NAME", "TRANSCRIPT_REDACTOR"):
        monkeypatch.delenv(name, raising=False)


def _server(name: str = "own") -> AgentServer:
    server = AgentServer(**LIVEKIT)  # type: ignore[arg-type]
    server.rtc_session(entrypoint, agent_name=name)
    return server


def test_outside_of_a_job_there_is_no_current_job() -> None:
    assert current() is None


def test_what_the_sdk_pickles_to_a_jobs_process_comes_out_the_same() -> None:
    for wrapped in (Entrypoint(entrypoint), SessionEnd(None)):
        assert pickle.loads(pickle.dumps(wrapped)) == wrapped


def test_the_server_and_its_decorator_say_more_than_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_AGENT_NAME", "another")
    monkeypatch.setenv("LIVEKIT_URL", "ws://elsewhere:7880")
    settings = read_settings(_server(), redacted=False)
    assert (settings.livekit_agent_name, settings.livekit_url) == ("own", LIVEKIT["ws_url"])


def test_the_way_is_chosen_by_what_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_transport(read_settings(_server(), redacted=False)) is None
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    assert choose_transport(read_settings(_server(), redacted=False)) is not None


def test_where_turns_are_redacted_nothing_is_shown_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACE_CONTENT", "true")
    settings = read_settings(_server(), redacted=True)
    assert not settings.captions_allowed
    assert not settings.content_may_be_traced


def test_a_wrong_variable_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "http://:hunter2@127.0.0.1")
    with pytest.raises(SettingsInvalid) as invalid:
        read_settings(_server(), redacted=False)
    assert "REDIS_URL" in str(invalid.value)
    assert "hunter2" not in str(invalid.value)


class _Server(AgentServer):
    """A server whose `run` only says what it would have run with."""

    ran: dict[str, Any]

    async def run(self, *, devmode: bool = False, unregistered: bool = False) -> None:
        self.ran = {"devmode": devmode, "unregistered": unregistered, "entrypoint": self._entrypoint_fnc}


@pytest.mark.parametrize(
    ("name", "redis", "unregistered"),
    [("own", "redis://127.0.0.1:1/0", True), ("own", "", False), ("", "redis://127.0.0.1:1/0", False)],
)
async def test_without_rollcall_the_server_runs_as_it_is(
    monkeypatch: pytest.MonkeyPatch, name: str, redis: str, unregistered: bool
) -> None:
    monkeypatch.setenv("REDIS_URL", redis)
    server = _Server(**LIVEKIT)  # type: ignore[arg-type]
    Rollcall(server)
    Rollcall(server)  # a second line, or `python -m rollcall_agent`, changes nothing
    server.rtc_session(entrypoint, agent_name=name)
    await server.run(unregistered=unregistered)
    assert server.ran == {"devmode": False, "unregistered": unregistered, "entrypoint": entrypoint}
