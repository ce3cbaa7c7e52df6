"""The JSON of /v1/agents."""

from pydantic import BaseModel, Field


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
