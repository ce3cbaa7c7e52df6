"""Find out in advance what would prevent an agent of this worker from holding a conversation."""

from dataclasses import dataclass

from services.agent.job.diagnose import ModelRefused, diagnose
from services.agent.job.models import check_complete, choose
from services.agent.ports import Endpoint
from shared.contracts.dispatching import DispatchOrder
from shared.contracts.events import AgentError
from shared.contracts.models import Models
from shared.contracts.sessions import Mode
from shared.contracts.workers import Refusal


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
    """Decides whether this worker can serve a session, by its models and the state of the endpoint."""

    def __init__(self, *, defaults: Models, endpoint: Endpoint) -> None:
        self._defaults = defaults
        self._endpoint = endpoint

    async def objection(self, order: DispatchOrder | None) -> Objection | None:
        """Return the objection to the session; None if there is none, or if it is unknown."""
        mode = order.mode if order else Mode.PIPELINE
        models = choose(order.models if order else Models(), self._defaults)
        try:
            check_complete(models, mode)
        except ModelRefused as refused:
            return Objection(diagnose(refused), Refusal.MISCONFIGURED)
        fault = await self._endpoint.look()
        if fault is not None:
            error = AgentError(type="InferenceFault", message=fault.detail, cause=fault.cause)
            return Objection(error, Refusal.INFERENCE)
        if mode is Mode.PIPELINE and models.llm is not None and self._endpoint.lacks(models.llm):
            unknown = ModelRefused(models.llm, "the inference endpoint does not list this model")
            return Objection(diagnose(unknown), Refusal.MISCONFIGURED)
        return None
