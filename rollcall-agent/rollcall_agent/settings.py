"""What the library reads from the environment."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from livekit.agents import AgentServer
from pydantic import Field, ValidationError

from shared.contracts.names import Deployment
from shared.contracts.settings import (
    AgentNameSettings,
    LiveKitSettings,
    PlacementSettings,
    ProcessSettings,
    RedisSettings,
    StoredTextSettings,
)


class WorkerSettings(
    LiveKitSettings,
    PlacementSettings,
    AgentNameSettings,
    RedisSettings,
    StoredTextSettings,
    ProcessSettings,
):
    """How a worker reaches Rollcall, and its limits. What the agent itself is, its own code says."""

    livekit_agent_deployment: Deployment = Field("", description="LiveKit's deployment name")

    agent_max_jobs: int = Field(10, ge=1, le=1000)
    agent_spool_dir: str = Field(
        ".rollcall/spool", min_length=1, description="keeps turns until they are stored; none: no spool"
    )
    transcript_instructions: bool = Field(
        False, description="an agent's instructions are a turn of its transcript"
    )

    @property
    def spool_folder(self) -> Path | None:
        """The folder that keeps turns until the database has them; None for no spool."""
        return None if self.agent_spool_dir.lower() == "none" else Path(self.agent_spool_dir).absolute()

    @property
    def content_may_be_traced(self) -> bool:
        """Whether spans may contain what is said: only if the text is stored unredacted."""
        return self.trace_content and self.transcript_store == "full" and self.transcript_redactor is None

    @property
    def public_livekit_url(self) -> str:
        """The server's URL for logs and the registry."""
        url = urlsplit(self.livekit_url)
        return f"{url.scheme}://{url.hostname}{f':{url.port}' if url.port else ''}{url.path}"


class SettingsInvalid(ValueError):
    """A variable of the environment is missing or malformed; the message names it, and not its value."""


def read_settings(server: AgentServer, *, redacted: bool) -> WorkerSettings:
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
        settings = WorkerSettings(**{name: value for name, value in given.items() if value})
    except ValidationError as invalid:
        faults = invalid.errors(include_input=False, include_url=False)
        named = (
            f"{str(fault['loc'][0]).upper() if fault['loc'] else ''}: {fault['msg']}" for fault in faults
        )
        raise SettingsInvalid("; ".join(named)) from None
    if not redacted:
        return settings
    return settings.model_copy(update={"live_captions": False, "trace_content": False})
