"""Rollcall's attributes and the user's own `on_request` are both in the answer to LiveKit."""

from typing import Any

import pytest
from livekit.agents.job import JobAcceptArguments, JobRequest
from livekit.protocol.agent import Job

from rollcall_agent.worker.offer import JobTurnedDown, UsersAnswer

OURS = {"rollcall.session_id": "s-1"}


class Offer:
    """An offer of a job, and what was answered."""

    def __init__(self) -> None:
        self.accepted: list[JobAcceptArguments] = []
        self.rejected: list[bool] = []
        self.request = JobRequest(job=Job(id="AJ_1"), on_reject=self._reject, on_accept=self._accept)

    async def _accept(self, arguments: JobAcceptArguments) -> None:
        self.accepted.append(arguments)

    async def _reject(self, terminate: bool) -> None:
        self.rejected.append(terminate)


class Accepting:
    """An admission that accepts each offer with our attributes."""

    async def answer(self, request: JobRequest) -> None:
        await request.accept(attributes=OURS)


async def _answer(offer: Offer, on_request: Any) -> None:
    await UsersAnswer(Accepting(), on_request)(offer.request)  # type: ignore[arg-type]


async def test_without_a_function_of_the_user_the_admission_accepts() -> None:
    offer = Offer()
    await _answer(offer, None)
    assert [(a.identity, a.attributes) for a in offer.accepted] == [("agent-AJ_1", OURS)]


async def test_the_user_names_the_agent_and_adds_attributes() -> None:
    offer = Offer()

    async def on_request(request: JobRequest) -> None:
        await request.accept(name="Anna", identity="anna", attributes={"team": "sales"})

    await _answer(offer, on_request)
    (arguments,) = offer.accepted
    assert (arguments.name, arguments.identity) == ("Anna", "anna")
    assert arguments.attributes == {"team": "sales", **OURS}


async def test_the_user_may_turn_a_job_down() -> None:
    offer = Offer()

    async def on_request(request: JobRequest) -> None:
        await request.reject(terminate=False)

    with pytest.raises(JobTurnedDown):
        await _answer(offer, on_request)
    assert (offer.accepted, offer.rejected) == ([], [False])
