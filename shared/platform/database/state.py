"""What the database keeps refusing, as seen by this process's own statements, for `/readyz` and one log line.

A statement that failed counts as failing until it succeeds, or until no process has tried it for a while.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Engine, event

from shared.platform.database.errors import Fault, Kind, fault_of
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

# The loops try again within a few seconds; nobody knows when the next request comes.
REMEMBERED_S: Final = 15.0
TOLD_EVERY_S: Final = 30.0
_MOST: Final = 200


@dataclass(frozen=True)
class _Failure:
    fault: Fault
    at: float


class DatabaseState:
    """The state of one `Database`; its sessions report their failures and successes."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failing: dict[str | None, _Failure] = {}
        self._told_at: dict[tuple[str, str], float] = {}
        event.listen(engine, "after_cursor_execute", self._answered)
        event.listen(engine, "connect", self._connected)

    def failed(self, error: BaseException) -> Fault:
        """Record an exception of a session, and return the fault."""
        fault = fault_of(error)
        if fault.kind is Kind.DATA:
            return fault
        self._tell(fault)
        if fault.lasting:
            if len(self._failing) >= _MOST:
                self._failing.clear()
            self._failing[getattr(error, "statement", None)] = _Failure(fault, self._clock())
        return fault

    def what_fails(self) -> Fault | None:
        """Return the newest lasting fault that an operator has to fix; None if there is none."""
        oldest = self._clock() - REMEMBERED_S
        self._failing = {key: failure for key, failure in self._failing.items() if failure.at > oldest}
        newest = max(self._failing.values(), key=lambda failure: failure.at, default=None)
        return None if newest is None else newest.fault

    def _tell(self, fault: Fault) -> None:
        now, same = self._clock(), (fault.state, fault.said)
        if now - self._told_at.get(same, -TOLD_EVERY_S) < TOLD_EVERY_S:
            return
        if len(self._told_at) >= _MOST:
            self._told_at.clear()
        self._told_at[same] = now
        told: dict[str, Any] = {"state": fault.state, "error": fault.said, "advice": fault.mend}
        if fault.kind is Kind.DEPLOYMENT:
            log.error("database_unfit", message=str(fault), **told)
        else:
            log.warning("database_unavailable", message=str(fault), **told)

    def _answered(self, _: Any, __: Any, statement: str, *___: Any) -> None:
        if self._failing:
            self._mended(statement)

    def _connected(self, *_: Any) -> None:
        if self._failing:
            self._mended(None)

    def _mended(self, key: str | None) -> None:
        failure = self._failing.pop(key, None)
        if failure is not None and failure.fault.kind is Kind.TRANSIENT:  # affects the whole database
            same = failure.fault.state
            self._failing = {k: each for k, each in self._failing.items() if each.fault.state != same}
        if failure is not None and not self._failing:
            self._told_at.clear()
            log.info("database_mended", message="the statements that the database refused succeed again")
