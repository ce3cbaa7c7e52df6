"""The JSON of /v1/agents."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field, RootModel, model_validator

from shared.contracts.names import Deployment
from shared.contracts.profiles import Profile
from shared.core.profiles.profiles import profile_of
from shared.core.profiles.tables import ProfileRow


class Demand(BaseModel):
    """How many slots of an agent name are wanted, for an autoscaler; all numbers are slots."""

    agent_name: str
    deployment: str | None = Field(description="the pool that was asked for; null: all pools together")
    wanted: int = Field(description="`busy` + `withheld` + `waiting` + `buffer`")
    busy: int = Field(description="in which a job runs; without those of workers that drain")
    withheld: int = Field(
        description="free slots of workers that are cordoned or left out: an autoscaler counts them, and no "
        "session gets them"
    )
    waiting: int = Field(description="sessions that want an agent, and whose job no worker has yet")
    buffer: int = Field(description="as asked for")
    slots: int = Field(description="that the workers have now, without those of workers that drain")


class Shares(RootModel[dict[Deployment, Annotated[int, Field(ge=0, le=100)]]]):
    """Percent of the sessions that name no pool, by pool; together 100. None at all: nothing is shared."""

    @model_validator(mode="after")
    def _sum_is_100(self) -> "Shares":
        total = sum(self.root.values())
        if self.root and total != 100:
            raise ValueError(f"the shares must be 100 together; they are {total}")
        return self


class StoredProfile(BaseModel):
    """One version of an agent name's profile. It never changes; `version` counts from 1."""

    agent_name: str
    version: int
    profile: Profile
    created_at: datetime
    key_id: str | None = Field(description="the API key that stored it; null: none was asked for")

    @classmethod
    def of(cls, row: ProfileRow) -> "StoredProfile":
        """Return the profile of a database row."""
        return cls(
            agent_name=row.agent_name,
            version=row.version,
            profile=profile_of(row),
            created_at=row.created_at,
            key_id=row.key_id,
        )


class StoredProfiles(BaseModel):
    """The newest version of each agent name's profile, by name; `next_cursor` is null on the last page."""

    profiles: list[StoredProfile]
    next_cursor: str | None


class PoolShare(BaseModel):
    """A pool, its share, and its workers as the registry has them; null where it can't be read."""

    deployment: str
    percent: int
    workers: int | None
    free_slots: int | None


class TakenBack(BaseModel):
    """A share that was taken back because too many sessions of its pool failed."""

    deployment: str
    percent: int = Field(description="the share that the pool had")
    at: datetime
    sessions: int = Field(description="of the pool, requested since `since`, whose outcome was known")
    failed: int = Field(description="of these, those that got no agent by an attempt in the pool, or lost it")
    causes: dict[str, int] = Field(description="their attempts by cause")
    since: datetime
    advice: str


class Traffic(BaseModel):
    """How sessions that name no pool are shared between the pools of an agent name.

    `pools` are those with a share, and those in which there are workers.
    """

    agent_name: str
    shares: dict[str, int] = Field(description="in percent; empty: they go to the pool without a name")
    changed_at: datetime | None
    taken_back: list[TakenBack] = Field(description="since the shares were last set by a request")
    pools: list[PoolShare]
