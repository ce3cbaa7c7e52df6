"""Find out in advance what would prevent an agent of this worker from holding a conversation."""

from typing import Protocol

from rollcall_agent import Objection, Qualification
from rollcall_agent.job.diagnose import ModelRefused, diagnose
from services.agent.models import check_complete, choose
from services.agent.profile import ProfileInvalid, Secrets
from shared.contracts.dispatching import DispatchOrder
from shared.contracts.events import AgentError
from shared.contracts.models import Models
from shared.contracts.sessions import Mode
from shared.contracts.workers import Refusal, WorkerFault


class Endpoint(Protocol):
    """What this worker knows about the inference endpoint."""

    @property
    def fault(self) -> WorkerFault | None:
        """What was wrong with the endpoint at the last check; None if nothing was."""

    async def look(self) -> WorkerFault | None:
        """Return what is wrong with the endpoint now; None if nothing is."""

    def lacks(self, llm: str) -> bool:
        """Return whether the endpoint certainly has no such language model."""

    async def run(self) -> None:
        """Check the endpoint until cancelled."""

    async def aclose(self) -> None:
        """Close the connections."""


class ModelQualification(Qualification):
    """Decides whether this worker can serve a session, by its models, its secrets and the endpoint.

    defaults: what the worker's own profile and settings say. settings: what the settings alone say, for
    sessions whose profile is stored.
    """

    def __init__(
        self,
        *,
        defaults: Models,
        endpoint: Endpoint,
        settings: Models | None = None,
        secrets: Secrets | None = None,
    ) -> None:
        self._defaults = defaults
        self._endpoint = endpoint
        self._settings = settings or defaults
        self._secrets = secrets or Secrets({})

    @property
    def models(self) -> Models:
        """See `Qualification`."""
        return self._defaults

    @property
    def faults(self) -> tuple[WorkerFault, ...]:
        """See `Qualification`."""
        return (self._endpoint.fault,) if self._endpoint.fault else ()

    async def objection(self, order: DispatchOrder | None) -> Objection | None:
        """See `Qualification`."""
        mode = order.mode if order else Mode.PIPELINE
        models = self._models_for(order)
        try:
            self._check_secrets(order)
            check_complete(models, mode)
        except (ModelRefused, ProfileInvalid) as refused:
            return Objection(diagnose(refused), Refusal.MISCONFIGURED)
        fault = await self._endpoint.look()
        if fault is not None:
            error = AgentError(type="InferenceFault", message=fault.detail, cause=fault.cause)
            return Objection(error, Refusal.INFERENCE)
        if mode is Mode.PIPELINE and models.llm is not None and self._endpoint.lacks(models.llm):
            unknown = ModelRefused(models.llm, "the inference endpoint does not list this model")
            return Objection(diagnose(unknown), Refusal.MISCONFIGURED)
        return None

    def _models_for(self, order: DispatchOrder | None) -> Models:
        if order is None:
            return self._defaults
        stored = order.profile
        return choose(
            order.models, self._defaults if stored is None else choose(stored.models, self._settings)
        )

    def _check_secrets(self, order: DispatchOrder | None) -> None:
        if order is not None and order.profile is not None:
            self._secrets.check(order.profile, source=f"version {order.profile_version} of the profile")

    async def run(self) -> None:
        """See `Qualification`."""
        await self._endpoint.run()

    async def aclose(self) -> None:
        """See `Qualification`."""
        await self._endpoint.aclose()
