"""The programs of Prometheus and Alertmanager."""

import shutil


def program(*names: str) -> str:
    """Where the first of these programs is; its name differs from one distribution to another."""
    found = next(filter(None, map(shutil.which, names)), None)
    assert found is not None, f"{names[0]} is missing: run `make test-tools`"
    return found
