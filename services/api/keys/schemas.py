"""The JSON of API keys."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from services.api.auth.access import Scope
from services.api.auth.key_format import Kind
from services.api.auth.roles import AccessRole
from shared.contracts.names import Name
from shared.core.api_keys.tables import ApiKeyRow

Origins = Annotated[list[str], Field(max_length=50)]


class CreateKey(BaseModel):
    """A key to make, for the project of the key that asks."""

    model_config = ConfigDict(extra="forbid")

    name: Name = Field(description="what the key is for: shop, website, tests")
    kind: Kind = Field(
        Kind.SECRET, description="a publishable key stands in web pages, and reserves tokens only"
    )
    scopes: list[Scope] = Field(
        [], description="default: sessions:write, sessions:read and transcripts:read", max_length=len(Scope)
    )
    role: AccessRole | None = Field(None, description="a name for scopes: instead of them")
    origins: Origins = Field([], description="of the pages that may use a publishable key")
    expires_in_days: float | None = Field(None, gt=0, le=36_500, description="default: never")


class ApiKey(BaseModel):
    """A key, without its secret. `last_used_at` is accurate to about a minute."""

    id: str
    name: str
    project: str
    kind: Kind
    scopes: list[str]
    origins: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    @classmethod
    def of(cls, row: ApiKeyRow) -> "ApiKey":
        """Return the key of a database row."""
        return cls.model_validate(row, from_attributes=True)


class CreatedKey(ApiKey):
    """A key with its secret, which is shown only once."""

    key: str = Field(repr=False)


class ApiKeys(BaseModel):
    """Every key of the project, oldest first, including revoked ones."""

    keys: list[ApiKey]
