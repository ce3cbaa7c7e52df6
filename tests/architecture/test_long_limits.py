"""The limits that integration tests lengthen by name exist."""

import importlib

import pytest

from tests.integration.long_limits import LIMITS


@pytest.mark.parametrize(("module", "name"), LIMITS)
def test_a_limit_that_is_lengthened_is_there(module: str, name: str) -> None:
    assert getattr(importlib.import_module(module), name) > 0
