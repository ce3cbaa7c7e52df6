"""The agent worker's settings, and the models that a session gets by them."""

from pathlib import Path

import pytest

from rollcall_agent.job.diagnose import ModelRefused
from rollcall_agent.spool.spool import folder_of
from services.agent.models import build_session, choose
from services.agent.settings import AgentSettings
from shared.contracts.models import Models
from shared.contracts.sessions import Mode

COMPLETE = {
    "LIVEKIT_URL": "ws://user:password@localhost:7880",
    "LIVEKIT_API_KEY": "key",
    "LIVEKIT_API_SECRET": "a secret of enough length, more than 32 bytes",
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AGENT_STT", "nova-3"),
        ("AGENT_LLM", "openai/"),
        ("AGENT_TTS", "cartesia/sonic-3:a voice"),
        ("AGENT_REALTIME_MODEL", "gpt-realtime"),
        ("AGENT_MAX_JOBS", "0"),
        ("AGENT_TURN_DETECTION", "v1"),
        ("LIVEKIT_INFERENCE_URL", "localhost:8090"),
    ],
)
def test_a_malformed_variable_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from shared.platform.config import load_settings

    for known, good in COMPLETE.items():
        monkeypatch.setenv(known, good)
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as end:
        load_settings(AgentSettings)
    assert end.value.code == 2
    assert f"environment variable {name} is malformed" in capsys.readouterr().err


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> AgentSettings:
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)
    return AgentSettings()


def test_the_url_that_is_shown_has_no_password(settings: AgentSettings) -> None:
    assert settings.public_livekit_url == "ws://localhost:7880"


def test_an_order_may_choose_one_model_and_leave_the_rest(settings: AgentSettings) -> None:
    chosen = choose(Models(llm="google/gemini-3-flash"), settings.default_models)
    assert chosen.llm == "google/gemini-3-flash"
    assert (chosen.stt, chosen.tts) == (settings.agent_stt, settings.agent_tts)


@pytest.mark.parametrize("none", ["none", "None"])
@pytest.mark.parametrize("kind", ["stt", "llm", "tts", "realtime_model"])
def test_a_worker_may_be_without_a_kind_of_model(
    kind: str, none: str, settings: AgentSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"AGENT_{kind.upper()}", none)
    defaults = AgentSettings().default_models
    field = kind.removesuffix("_model")
    assert defaults == settings.default_models.model_copy(update={field: None})


@pytest.mark.parametrize(
    ("mode", "missing"),
    [(Mode.PIPELINE, "stt"), (Mode.PIPELINE, "llm"), (Mode.PIPELINE, "tts"), (Mode.REALTIME, "realtime")],
)
async def test_no_session_is_built_without_a_model_that_its_mode_needs(
    mode: Mode, missing: str, settings: AgentSettings
) -> None:
    models = settings.default_models.model_copy(update={missing: None})
    with pytest.raises(ModelRefused, match=f"models.{missing} in the session") as refused:
        build_session(models, mode=mode, settings=settings)
    assert refused.value.descriptor == missing


async def test_a_session_calls_no_detector_in_the_cloud(settings: AgentSettings) -> None:
    session = build_session(settings.default_models, mode=Mode.PIPELINE, settings=settings)
    assert session.options.turn_handling["turn_detection"] == "vad"
    assert session.options.interruption["mode"] == "vad"


async def test_voice_and_language_win_over_the_descriptors(settings: AgentSettings) -> None:
    asked = choose(Models(tts="cartesia/sonic-3:anna", voice="berta", language="de"), settings.default_models)
    session = build_session(asked, mode=Mode.PIPELINE, settings=settings)
    assert session.tts is not None
    assert session.tts._opts.voice == "berta"  # type: ignore[attr-defined]
    assert session.tts._opts.language == "de"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("value", "folder"), [("none", None), ("None", None), ("/srv/spool", Path("/srv/spool"))]
)
def test_the_spool_is_where_it_is_said_or_nowhere(
    value: str, folder: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, known in {**COMPLETE, "AGENT_SPOOL_DIR": value}.items():
        monkeypatch.setenv(name, known)
    assert folder_of(AgentSettings()) == folder


def test_the_spool_is_beside_the_other_local_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name, known in COMPLETE.items():
        monkeypatch.setenv(name, known)
    monkeypatch.delenv("AGENT_SPOOL_DIR", raising=False)
    assert folder_of(AgentSettings()) == tmp_path / ".rollcall" / "spool"
