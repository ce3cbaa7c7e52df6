"""The environment that the doctor checks: the user's, a file's, or that of the local stack."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar, cast
from urllib.parse import unquote, urlsplit

from dotenv import dotenv_values
from pydantic import ValidationError
from pydantic_settings import PydanticBaseSettingsSource

from devstack.environment import clean_environment, user_environment
from devstack.state import running_stack_env
from shared.contracts.settings import Settings

# LiveKit's API key is a name that every token contains; only the secret is secret.
_SECRET_NAME: Final = re.compile(r"SECRET|PASSWORD|TOKEN$|^ROLLCALL_API_KEY$")
# Hiding shorter values would hide harmless text.
_SHORTEST_SECRET: Final = 6

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class Surroundings:
    """Variables, and where they come from. `named` are those that were set for Rollcall."""

    env: Mapping[str, str] = field(repr=False)
    source: str
    named: frozenset[str] = frozenset()

    @classmethod
    def of_file(cls, file: Path) -> "Surroundings":
        """Return only the file's variables, as a container with this file would see them.

        Raises `OSError`.
        """
        with file.open() as lines:
            values = {name: value for name, value in dotenv_values(stream=lines).items() if value}
        return cls(_trimmed(clean_environment(values)), str(file), frozenset(values))

    @classmethod
    def of_user(cls, state: Path) -> "Surroundings":
        """Return the environment and `.env`, and the variables of the local stack, if one runs."""
        written = frozenset(dotenv_values(Path.cwd() / ".env"))
        if stack := running_stack_env(state):
            return cls(_trimmed({**user_environment(), **stack}), f"the stack in {state}", written)
        source = ".env and the environment" if written else "the environment"
        return cls(_trimmed(user_environment()), source, written)

    def settings(self, kind: type[S]) -> S:
        """Read a settings class from these variables alone; raises `pydantic.ValidationError`."""
        given: dict[str, Any] = {
            name: self.env[name.upper()] for name in kind.model_fields if self.env.get(name.upper())
        }
        return cast("S", type(kind.__name__, (_GivenOnly, kind), {})(**given))

    @property
    def secrets(self) -> set[str]:
        """Return the values that must not be shown."""
        named = {value for name, value in self.env.items() if _SECRET_NAME.search(name)}
        return {secret for secret in named | self._passwords() if len(secret) >= _SHORTEST_SECRET}

    def _passwords(self) -> set[str]:
        found: set[str] = set()
        for value in self.env.values():
            if "://" not in value:
                continue
            try:
                password = urlsplit(value).password
            except ValueError:
                continue
            found |= {password, unquote(password)} if password else set()
        return found

    def for_a_process(self, repository: Path) -> dict[str, str]:
        """Return the environment for a process of ours that needs these variables."""
        path = os.pathsep.join([str(repository), *filter(None, [self.env.get("PYTHONPATH")])])
        return {**clean_environment(), **self.env, "PYTHONPATH": path}


def reason_of(invalid: ValidationError) -> str:
    """Return the first fault of a settings class, as a sentence without the value."""
    fault = invalid.errors(include_input=False, include_url=False)[0]
    return f"{str(fault['loc'][0]).upper()} {fault['msg'].removeprefix('Value error, ')}"


def _trimmed(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables as the settings classes read them."""
    return {name: value.strip() for name, value in env.items()}


class _GivenOnly(Settings):
    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: Any,
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del settings_cls
        return (init_settings,)
