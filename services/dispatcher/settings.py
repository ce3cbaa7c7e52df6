"""The settings of the dispatcher."""

from pydantic import Field

from shared.contracts.settings import (
    AgentNameSettings,
    BrokerSettings,
    DatabaseSettings,
    GuaranteeSettings,
    LiveKitSettings,
    PlacementSettings,
    ProcessSettings,
)


class DispatcherSettings(
    LiveKitSettings,
    PlacementSettings,
    AgentNameSettings,
    BrokerSettings,
    DatabaseSettings,
    GuaranteeSettings,
    ProcessSettings,
):
    """Settings of the dispatcher."""

    dispatcher_concurrency: int = Field(32, ge=1, le=1000)
    dispatch_retry_delay_s: float = Field(
        1.0, gt=0, description="wait before the second attempt; three times as long before the third"
    )
    wait_for_workers: bool = Field(
        True,
        description="false: a session fails at once if no registered worker of its agent name is free; "
        "use it only if every worker reports to Rollcall",
    )
    room_empty_timeout_s: int = Field(
        120, ge=20, description="how long LiveKit keeps a room that no caller has joined"
    )
    room_departure_timeout_s: int = Field(
        20, ge=1, description="how long LiveKit keeps a room after the last caller has left"
    )
