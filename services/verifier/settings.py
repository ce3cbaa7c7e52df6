"""The settings of the verifier."""

from pydantic import Field

from shared.contracts.settings import (
    AgentNameSettings,
    BrokerSettings,
    DatabaseSettings,
    GuaranteeSettings,
    LiveKitSettings,
    ProcessSettings,
    SessionLimitSettings,
)


class VerifierSettings(
    LiveKitSettings,
    AgentNameSettings,
    BrokerSettings,
    DatabaseSettings,
    GuaranteeSettings,
    SessionLimitSettings,
    ProcessSettings,
):
    """Settings of the verifier."""

    verifier_concurrency: int = Field(100, ge=1, le=1000)
    attempt_window_s: float = Field(
        5.5,
        gt=0,
        description="how long to wait for an attempt without any sign of life; LiveKit shows the job "
        "of a worker that doesn't report to us up to 5.2 s late",
    )
    own_worker_window_s: float = Field(
        3.0, gt=0, description="how long a worker of ours with free slots may take to accept the job"
    )
    agent_start_window_s: float = Field(
        7.0,
        gt=0,
        description="how long a worker of ours that took the job may take to start it, and the agent of one "
        "that doesn't report to us to be listed in the room",
    )
    agent_silence_s: float = Field(
        2.5, ge=1, description="how long an agent's job, which beats twice a second, may be silent"
    )
    watch_interval_s: float = Field(
        10.0, gt=0, description="how often the verifier looks at an active session without a hint"
    )
    caller_join_timeout_s: float = Field(
        60.0,
        ge=0,
        description="how long an agent waits for a caller who was never there; the session then ends as "
        "caller_never_came, and the agent's slot is free. 0: until LiveKit closes the room",
    )
    traffic_window_s: float = Field(
        1800.0,
        gt=0,
        description="how far back the sessions of a pool count, to see whether its share of the traffic is "
        "taken back",
    )
    traffic_min_sessions: int = Field(
        10, ge=1, description="how many sessions of a pool must have got their agent or not, to be judged"
    )
    traffic_max_failed_percent: int = Field(
        25,
        ge=0,
        le=100,
        description="how many of a pool's sessions may get no agent, or lose it, before its share is taken "
        "back; 100: never",
    )
    max_revivals: int = Field(
        2, ge=0, description="how many times a lost agent of an active session is replaced"
    )
