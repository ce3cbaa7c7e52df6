"""Answer LiveKit's offers of jobs: Rollcall's admission first, then the user's own `on_request`."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from livekit.agents.job import JobAcceptArguments, JobRequest

from rollcall_agent.worker.admit import Admission

OnRequest = Callable[[JobRequest], Any]


class JobTurnedDown(RuntimeError):
    """The agent's own on_request did not accept the job."""

    def __init__(self) -> None:
        super().__init__(str(self.__doc__))


class UsersAnswer:
    """The server's `on_request`: admits a job, and lets the user's function accept what is admitted."""

    def __init__(self, admission: Admission, on_request: OnRequest | None) -> None:
        self._admission = admission
        self._on_request = on_request

    async def __call__(self, request: JobRequest) -> None:
        """Answer an offer."""
        await self._admission.answer(
            request if self._on_request is None else _Asking(request, self._on_request)
        )


class _Asking(JobRequest):
    """An offer whose acceptance is the user's: they may name the agent, and add attributes to ours."""

    def __init__(self, offered: JobRequest, on_request: OnRequest) -> None:
        super().__init__(job=offered.job, on_reject=offered._on_reject, on_accept=offered._on_accept)
        self._ask = on_request

    async def accept(self, *, attributes: dict[str, str] | None = None, **_: Any) -> None:
        """Have the user accept, with `attributes` beside their own. Raises `JobTurnedDown` if they do not."""
        accepted = False

        async def accept(theirs: JobAcceptArguments) -> None:
            nonlocal accepted
            accepted = True
            both = {**(theirs.attributes or {}), **(attributes or {})}
            await self._on_accept(replace(theirs, attributes=both))

        asked = JobRequest(job=self.job, on_reject=self._on_reject, on_accept=accept)
        answering = self._ask(asked)
        if isinstance(answering, Awaitable):
            await answering
        if not accepted:
            raise JobTurnedDown
