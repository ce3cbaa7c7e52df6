"""What the dispatcher reads of a session, what it holds while it works on it, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.contracts.causes import Cause
from shared.contracts.dispatching import DispatchOrder
from shared.core.sessions.tables import SessionRow


@dataclass(frozen=True)
class Wanted:
    """A session whose agent is wanted.

    under_way: a dispatcher died in the middle of an attempt, and an agent may already be there.
    behind: what an older session waits for, which must go first.
    tries: how often each worker had this session and came to nothing, or was lost.
    tried_by_name: an attempt that named no worker came to nothing.
    """

    row: SessionRow
    under_way: bool
    behind: Cause | None = None
    tries: Mapping[str, int] = field(default_factory=dict)
    tried_by_name: bool = False


@dataclass(frozen=True)
class Claim:
    """A session that this dispatcher has claimed.

    unsure: an earlier call may have taken effect.
    worker_id: the worker that was chosen; None: LiveKit chooses.
    """

    row: SessionRow
    order: DispatchOrder
    unsure: bool
    worker_id: str | None = None

    @property
    def deployment(self) -> str:
        """The `deployment` of the dispatch: the chosen worker's address, or what the session asks for."""
        return self.order.address or self.row.pool

    @property
    def fresh_room(self) -> bool:
        """Whether nobody but the caller can have created the room yet."""
        return self.row.room_is_ours and self.order.attempt == 1 and not self.unsure


@dataclass(frozen=True)
class RefusedAttempt:
    """The result of recording a refused dispatch.

    If not `won`, the session has moved on, and nothing follows.
    """

    won: bool
    retry_in_s: float | None


@dataclass(frozen=True)
class Decision:
    """The dispatch that an attempt finally has; None if it has none."""

    dispatch_id: str | None
