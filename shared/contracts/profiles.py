"""Profiles: what a built-in agent is, as data instead of code.

A profile names its secrets, and never holds one: the worker's environment has the values.
"""

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, HttpUrl, field_validator, model_validator

from shared.contracts.models import Models
from shared.contracts.names import Text
from shared.contracts.nesting import is_deeper
from shared.contracts.text import cleaned

# Only variables with this prefix can be named: whoever writes profiles must not get the worker's others.
SECRET_PREFIX: Final = "AGENT_SECRET_"  # noqa: S105 (a name)
_SECRET: Final = re.compile(rf"\$\{{({SECRET_PREFIX}[A-Z0-9_]+)\}}")
# A secret, with a word in front of it at most, as in `Bearer ${AGENT_SECRET_SHOP}`.
_ONLY_A_SECRET: Final = re.compile(rf"(?:[A-Za-z][A-Za-z0-9-]* )?{_SECRET.pattern}")
# The tool of `hang_up`.
HANG_UP: Final = "hang_up"
MAX_TOOLS: Final = 32
MAX_SERVERS: Final = 8
MAX_SCHEMA_BYTES: Final = 16 * 1024
MAX_SCHEMA_DEPTH: Final = 16


def _check_secret(value: str) -> str:
    if not _ONLY_A_SECRET.fullmatch(value):
        raise ValueError(
            f"must name a secret of the worker, as ${{{SECRET_PREFIX}SHOP}}, at most with one word before it"
        )
    return value


def _check_url(url: HttpUrl) -> HttpUrl:
    if url.username is not None or url.password is not None:
        raise ValueError("must not contain credentials; name a secret instead")
    return url


def _check_schema(schema: dict[str, Any]) -> dict[str, Any]:
    if is_deeper(schema, MAX_SCHEMA_DEPTH):
        raise ValueError(f"must be nested at most {MAX_SCHEMA_DEPTH} deep")
    if len(json.dumps(schema, allow_nan=False, ensure_ascii=False).encode()) > MAX_SCHEMA_BYTES:
        raise ValueError(f"must be at most {MAX_SCHEMA_BYTES} bytes of JSON")
    if cleaned(schema) != schema:
        raise ValueError("must not contain NUL, lone surrogates or NaN")
    properties = schema.get("properties", {})
    if schema.get("type") != "object" or not isinstance(properties, dict):
        raise ValueError('must be a JSON schema of an object: {"type": "object", "properties": {…}}')
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(name in properties for name in map(str, required)):
        raise ValueError("`required` must list names of `properties`")
    return schema


Secret = Annotated[str, Field(max_length=256), AfterValidator(_check_secret)]
"""The name of a secret, `${AGENT_SECRET_…}`."""

Url = Annotated[HttpUrl, AfterValidator(_check_url)]
"""An address without credentials."""

ToolName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]
Schema = Annotated[dict[str, Any], AfterValidator(_check_schema)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class McpServer(_Part):
    """A server of tools that speaks MCP over HTTP.

    `timeout_s` is for each call of a tool.
    """

    url: Url
    headers: dict[HeaderName, Secret] = Field({}, max_length=16)
    allowed_tools: tuple[ToolName, ...] | None = Field(
        None, min_length=1, max_length=MAX_TOOLS, description="null: all of the server's"
    )
    timeout_s: float = Field(10.0, gt=0, le=60)
    required: bool = Field(False, description="the agent gives up if it can't get the tools")


class HttpTool(_Part):
    """A tool that is one request. With a `secret` it is signed as Standard Webhooks specifies."""

    name: ToolName
    description: Annotated[Text, Field(min_length=1, max_length=1024)]
    parameters: Schema = Field({"type": "object", "properties": {}}, description="a JSON schema of an object")
    url: Url
    secret: Secret | None = Field(None, description="names a secret of the form whsec_…")
    timeout_s: float = Field(10.0, gt=0, le=60)


class Limits(_Part):
    """When the agent ends a call by itself, in seconds; null: never."""

    duration_s: float | None = Field(None, gt=0, le=86_400)
    silence_s: float | None = Field(None, gt=0, le=3600, description="without a word of either side")


class Profile(_Part):
    """What one agent is. For a field that is null, the worker's settings decide."""

    instructions: Annotated[Text, Field(max_length=16_384)] | None = None
    greeting: Annotated[Text, Field(max_length=2048)] | None = None
    models: Models = Models()
    turn_detection: Literal["vad", "v1-mini"] | None = None
    mcp_servers: tuple[McpServer, ...] = Field((), max_length=MAX_SERVERS)
    http_tools: tuple[HttpTool, ...] = Field((), max_length=MAX_TOOLS)
    hang_up: bool = Field(False, description="the model may end the call")
    limits: Limits = Limits()

    @field_validator("http_tools")
    @classmethod
    def _named_once(cls, tools: tuple[HttpTool, ...]) -> tuple[HttpTool, ...]:
        names = [tool.name for tool in tools]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"more than one tool has the name {', '.join(twice)}")
        return tools

    @model_validator(mode="after")
    def _hangs_up_once(self) -> "Profile":
        if self.hang_up and any(tool.name == HANG_UP for tool in self.http_tools):
            raise ValueError(f"with hang_up, no other tool can be named {HANG_UP}")
        return self

    def secrets(self) -> set[str]:
        """Return the names of the variables that the worker needs."""
        return {name for value in self._secret_values() for name in _SECRET.findall(value)}

    def _secret_values(self) -> Iterator[str]:
        for server in self.mcp_servers:
            yield from server.headers.values()
        yield from (tool.secret for tool in self.http_tools if tool.secret is not None)


def secret_in(value: str) -> str:
    """Return the name of the variable in a `Secret`. Raises `ValueError` for another text."""
    found = _SECRET.search(value)
    if found is None:
        raise ValueError(f"no secret is named in {value!r}")
    return found[1]


def with_secret(value: str, secret: str) -> str:
    """Return a `Secret` with the name replaced by its value."""
    return _SECRET.sub(lambda _: secret, value)
