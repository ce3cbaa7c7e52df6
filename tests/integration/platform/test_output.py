"""A terminal that can't show a text's letters shows escapes; no process ends because of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from shared.core import migrate

ASCII_ONLY = {"PYTHONIOENCODING": "ascii:strict", "LIVEKIT_AGENT_NAME": "สวัสดี ✓", "LANG": "C", "LC_ALL": "C"}
LOG_A_NAME = """
from shared.contracts.settings import AgentNameSettings, LogSettings
from shared.platform.config import load_settings
from shared.platform.logs.logs import configure_logs, get_logger
configure_logs(load_settings(LogSettings).model_copy(update={"log_format": "console"}), service="trial")
get_logger("services.trial").info("named", name=load_settings(AgentNameSettings).livekit_agent_name)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, *arguments], env=ASCII_ONLY, capture_output=True, check=False)


def test_a_log_line_in_thai_is_written_where_there_is_ascii_only() -> None:
    ran = run("-c", LOG_A_NAME)
    assert (ran.returncode, b"\\u2713" in ran.stdout) == (0, True), ran.stderr


def test_the_command_line_says_what_it_has_to_say_where_there_is_ascii_only() -> None:
    ran = run("-m", "cli.main", "transcript", "สวัสดี", "--api", "http://127.0.0.1:9")
    assert b"UnicodeEncodeError" not in ran.stdout + ran.stderr
    assert ran.returncode == 1, ran.stderr


def test_a_percent_sign_in_the_path_of_the_installation_is_a_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "__file__", "/srv/100%sure/shared/migrate.py")
    config = migrate.alembic_config()
    assert config.get_main_option("script_location") == str(Path("/srv/100%sure/shared/migrations"))
