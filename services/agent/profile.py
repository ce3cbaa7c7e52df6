"""Read the worker's profiles, and put a profile's values in the place of the worker's settings."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml
from pydantic import TypeAdapter, ValidationError

from services.agent.settings import AgentSettings
from shared.contracts.names import AgentName
from shared.contracts.profiles import McpServer, Profile, secret_in, with_secret
from shared.platform.http.signatures import is_signing_secret

# A value of the session's metadata, as {{ customer.name }}.
_VARIABLE: Final = re.compile(r"\{\{\s*([\w-]+(?:\.[\w-]+)*)\s*\}\}")
_PROFILES: Final = TypeAdapter(dict[AgentName, Profile])


class ProfileInvalid(ValueError):
    """A profile can't be used; the message names where it is from, and the fault."""


class Secrets:
    """The values of the secrets that profiles name: variables of the worker's environment."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    @classmethod
    def of_process(cls) -> "Secrets":
        """Those of this process."""
        return cls(os.environ)  # noqa: TID251 (a profile names the variables)

    def check(self, profile: Profile, *, source: str) -> None:
        """Raise `ProfileInvalid` if a secret is not set, or signs nothing. `source`: where the profile is."""
        missing = sorted(name for name in profile.secrets() if not self._environment.get(name))
        if missing:
            raise ProfileInvalid(f"{source} needs {', '.join(missing)}, which the worker's environment lacks")
        for tool in profile.http_tools:
            if tool.secret is not None and not is_signing_secret(self.fill(tool.secret)):
                name = secret_in(tool.secret)
                raise ProfileInvalid(f"{source}: {name} must be whsec_ and base64, to sign {tool.name}")

    def fill(self, value: str) -> str:
        """Return a secret's reference with the value; raises `KeyError` if the environment lacks it."""
        return with_secret(value, self._environment[secret_in(value)])


def read_profile(file: Path | None, name: str, *, secrets: Secrets) -> Profile:
    """Return the file's profile of this name; the empty one if there is no file.

    Raises `ProfileInvalid` if the file can't be read or has a fault, has no profile of this name, or names a
    secret that the environment lacks.
    """
    if file is None:
        return Profile()
    try:
        profiles = _PROFILES.validate_python(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeError, yaml.YAMLError) as unread:
        raise ProfileInvalid(f"{file}: {unread}") from unread
    except ValidationError as invalid:
        faults = invalid.errors(include_input=False, include_url=False)
        said = "; ".join(_fault(fault["loc"], fault["msg"]) for fault in faults)
        raise ProfileInvalid(f"{file}: {said}") from None
    if name not in profiles:
        raise ProfileInvalid(f"{file} has no profile {name}; it has {', '.join(sorted(profiles)) or 'none'}")
    secrets.check(profiles[name], source=f"{file}: {name}")
    return profiles[name]


def _fault(place: tuple[int | str, ...], said: str) -> str:
    where = ".".join(map(str, place)) or "the file"
    return f"{where}: {said}"


def read_own_profile(settings: AgentSettings) -> Profile:
    """Return the profile of this worker's agent name; raises `ProfileInvalid`."""
    return read_profile(settings.agent_profiles, settings.livekit_agent_name, secrets=Secrets.of_process())


def with_profile(settings: AgentSettings, profile: Profile) -> AgentSettings:
    """Return the settings, with what the profile says in their place."""
    said = {
        "agent_instructions": profile.instructions,
        "agent_greeting": profile.greeting,
        "agent_turn_detection": profile.turn_detection,
        "agent_stt": profile.models.stt,
        "agent_llm": profile.models.llm,
        "agent_tts": profile.models.tts,
        "agent_realtime_model": profile.models.realtime,
        "agent_language": profile.models.language,
    }
    return settings.model_copy(update={name: value for name, value in said.items() if value is not None})


def fill_in(text: str, metadata: object) -> str:
    """Return the text with each `{{ name }}` replaced by the metadata's value; by nothing if it has none."""
    return _VARIABLE.sub(lambda found: _value_of(found[1], metadata), text)


def _value_of(path: str, metadata: object) -> str:
    value = metadata
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return "" if value is None or isinstance(value, Mapping | list) else str(value)


def address_of(server: McpServer) -> str:
    """Return the server's address without its query, which may hold a token."""
    return f"{server.url.scheme}://{server.url.host}:{server.url.port}{server.url.path or ''}"
