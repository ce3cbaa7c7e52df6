"""docs/growth.md lists everything that grows, with its limit: tables, Redis keys, and settings' defaults."""

import inspect
import re
from pathlib import Path
from typing import Final

from services.api.settings import ApiSettings
from services.webhooks.settings import WebhooksSettings
from shared.contracts import keys
from shared.core.all_tables import METADATA

PAGE: Final = (Path(__file__).parents[2] / "docs" / "growth.md").read_text()
SECTIONS: Final = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def rows(section: str) -> list[list[str]]:
    lines = [line for line in SECTIONS[section].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def first_names(section: str) -> set[str]:
    return {name for row in rows(section) for name in re.findall(r"`([^`]+)`", row[0])}


def redis_keys() -> set[str]:
    """Return every key in keys.py, with `…` for its variable parts."""
    found = {
        value
        for name, value in vars(keys).items()
        if isinstance(value, str) and (value.startswith("rollcall:") or name.endswith("_QUEUE"))
    }
    for name, function in inspect.getmembers(keys, inspect.isfunction):
        if name.endswith(("_key", "_channel")):
            found.add(function(*["…"] * len(inspect.signature(function).parameters)))
    return found


def test_every_table_of_the_database_is_there() -> None:
    assert first_names("Database") == set(METADATA.tables)


def test_every_key_of_redis_is_there() -> None:
    assert first_names("Redis") == redis_keys()


def test_every_bound_is_said_and_every_default_is_that_of_its_setting() -> None:
    fields = {**ApiSettings.model_fields, **WebhooksSettings.model_fields}
    for section in ("Database", "Redis"):
        for name, _, bound, setting, default in rows(section):
            assert bound, name
            for each in re.findall(r"`([A-Z_]+)`", setting):
                assert default.partition(":")[0].split()[0] == f"{fields[each.lower()].default:g}", each
