"""Commands that need packages from an extra of the distribution."""

import re
from collections.abc import Callable, Iterator
from functools import wraps
from importlib.metadata import PackageNotFoundError, distribution
from typing import Final, ParamSpec

import typer

from cli.client.target import complain
from shared.platform.process import DISTRIBUTION

P = ParamSpec("P")

# A line of the metadata: `rollcall[control]; extra == "api"`.
_OF_AN_EXTRA: Final = re.compile(r"([\w.-]+)(?:\[([\w,-]+)\])?[^;]*;.*\bextra == [\"']([\w-]+)[\"']")


def needing(extra: str, command: Callable[P, None]) -> Callable[P, None]:
    """Return the command. If packages of the extra are missing, it says so, and exits with code 1."""

    @wraps(command)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        if missing := sorted(missing_packages(extra)):
            complain(
                f"This command needs {len(missing)} more packages, such as {missing[0]}: "
                f"install Rollcall with its extra {extra}, as in pip install '.[{extra}]'"
            )
            raise typer.Exit(1)
        command(*args, **kwargs)

    return checked


def missing_packages(extra: str) -> set[str]:
    """Return the packages of this extra that are not installed; none if Rollcall itself is not installed."""
    try:
        lines = distribution(DISTRIBUTION).requires or []
    except PackageNotFoundError:
        return set()
    return {name for name in _packages(extra, lines) if not _installed(name)}


def _packages(extra: str, lines: list[str]) -> Iterator[str]:
    for name, extras, of in (match.groups() for line in lines if (match := _OF_AN_EXTRA.match(line))):
        if of != extra:
            continue
        if name != DISTRIBUTION:
            yield name
            continue
        for other in extras.split(","):
            yield from _packages(other, lines)


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
