"""The JSON of who uses the console."""

from typing import Literal

from pydantic import BaseModel, Field

from services.api.auth.access import Principal, Scope
from services.api.auth.roles import AccessRole, role_of


class Me(BaseModel):
    """Who asks: the project, and what the key may do there.

    With `auth` off nobody needs a key, and `key_id` is null.
    """

    auth: Literal["off", "keys"]
    project: str
    scopes: list[Scope]
    role: AccessRole | None = Field(description="the highest one whose scopes the key has; null: none")
    key_id: str | None
    logged_in: bool = Field(description="true: by the console's cookie")
    version: str

    @classmethod
    def of(cls, asking: Principal, *, version: str) -> "Me":
        """Return what a principal is told about itself."""
        return cls(
            auth="off" if asking.key_id is None else "keys",
            project=asking.project,
            scopes=sorted(asking.scopes),
            role=role_of(asking.scopes),
            key_id=asking.key_id,
            logged_in=asking.login is not None,
            version=version,
        )
