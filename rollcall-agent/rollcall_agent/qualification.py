"""Say in advance what an agent could not do, so that no job is taken for it."""

from dataclasses import dataclass

from shared.contracts.dispatching import DispatchOrder
from shared.contracts.events import AgentError
from shared.contracts.models import Models
from shared.contracts.workers import Refusal, WorkerFault


@dataclass(frozen=True)
class Objection:
    """Why a session's job is turned down; `for_all` if no other worker would do better."""

    error: AgentError
    reason: Refusal

    @property
    def for_all(self) -> bool:
        """Whether LiveKit need not ask another worker."""
        return not self.reason.is_of_this_worker


class Qualification:
    """What a worker knows in advance about the jobs that it is offered; this one takes them all.

    A subclass says more, and is given to `Rollcall`. It lives in the worker's process.
    """

    @property
    def models(self) -> Models:
        """The models that the agent uses unless a session names others, for the registry."""
        return Models()

    @property
    def faults(self) -> tuple[WorkerFault, ...]:
        """What keeps this worker from serving calls now, for the registry."""
        return ()

    async def objection(self, order: DispatchOrder | None) -> Objection | None:  # noqa: ARG002
        """Return what speaks against the session; None if nothing does, or if that is unknown."""
        return None

    async def run(self) -> None:
        """Run beside the worker until cancelled."""

    async def aclose(self) -> None:
        """Close what is open; called after `run` has ended."""
