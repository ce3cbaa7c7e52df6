"""The doctor as a process, beside servers that accept connections and never answer."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devstack.services import REPOSITORY
from tests.unit.cli.test_doctor import SECRET, surroundings


@contextmanager
def silent_server() -> Iterator[int]:
    """Takes connections, and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        yield listening.getsockname()[1]


def test_servers_that_never_answer_keep_nobody_waiting(tmp_path: Path) -> None:
    with silent_server() as port:
        surroundings(
            tmp_path,
            LIVEKIT_URL=f"ws://127.0.0.1:{port}",
            LIVEKIT_API_KEY="k",
            LIVEKIT_API_SECRET=SECRET,
            LIVEKIT_INFERENCE_URL=f"http://127.0.0.1:{port}",
            REDIS_URL=f"redis://:hunter2@127.0.0.1:{port}/0",
            DATABASE_URL=f"postgresql://rollcall:hunter2@127.0.0.1:{port}/rollcall",
            ROLLCALL_URL=f"http://127.0.0.1:{port}",
        )
        done = subprocess.run(
            [
                *[sys.executable, "-m", "cli.main", "doctor", "--json", "--timeout", "1"],
                *["--env-file", str(tmp_path / "deployment.env")],
            ],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert done.returncode == 1, done.stderr
    statuses = {one["check"]: one["status"] for one in json.loads(done.stdout)["checks"]}
    for check in ("livekit", "redis", "broker", "database", "inference", "api", "webhook"):
        assert statuses[check] == "fail", statuses
    assert "hunter2" not in done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
