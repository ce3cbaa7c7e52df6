"""Prometheus and Alertmanager: the programs, and both of them running beside a stack."""

import os
import shutil

from cli.provision.livekit import cache_folder


def program(name: str) -> str:
    """Where this program is: on PATH, or fetched by requirements/tests.sh."""
    fetched = cache_folder(os.environ) / "prometheus" / "usr" / "bin" / name
    found = shutil.which(name) or (str(fetched) if fetched.exists() else None)
    assert found is not None, f"{name} is missing: run `make test-tools`"
    return found
