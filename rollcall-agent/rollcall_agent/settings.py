"""What the library reads from the environment."""

from typing import Any

from livekit.agents import AgentServer
from pydantic import ValidationError

from shared.contracts.settings import ApiAddressSettings, WorkerSettings


class LibrarySettings(WorkerSettings, ApiAddressSettings):
    """The settings of a worker that the library is attached to."""


class SettingsInvalid(ValueError):
    """A variable of the environment is missing or malformed; the message names it, and not its value."""


def read_settings(server: AgentServer, *, redacted: bool) -> LibrarySettings:
    """Read the environment and `.env`; what the server was made with comes first.

    redacted: the turns are, so no span may hold what was said. Raises `SettingsInvalid`.
    """
    given: dict[str, Any] = {
        "livekit_url": server._ws_url,
        "livekit_api_key": server._api_key,
        "livekit_api_secret": server._api_secret,
        "livekit_agent_name": server._agent_name,
    }
    try:
        settings = LibrarySettings(**{name: value for name, value in given.items() if value})
    except ValidationError as invalid:
        faults = invalid.errors(include_input=False, include_url=False)
        named = (
            f"{str(fault['loc'][0]).upper() if fault['loc'] else ''}: {fault['msg']}" for fault in faults
        )
        raise SettingsInvalid("; ".join(named)) from None
    if not redacted:
        return settings
    return settings.model_copy(update={"live_captions": False, "trace_content": False})
