"""What the user's code may ask of the job that it runs in, and tell Rollcall of it."""

import json
import secrets
import time
from collections.abc import Callable
from typing import Any

from livekit.agents.job import get_job_context

from rollcall_agent.job.running_job import RunningJob
from rollcall_agent.job.turns import Note
from shared.contracts.dispatching import DispatchOrder


class RollcallJob:
    """The job of the running code, dispatched by Rollcall."""

    def __init__(self, job: RunningJob) -> None:
        self._job = job

    @property
    def session_id(self) -> str:
        """The session, as `POST /v1/sessions` has returned it."""
        return self._job.order.session_id

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self._job.order.attempt

    @property
    def metadata(self) -> dict[str, Any] | str | None:
        """The session's metadata: an object, a text as the client gave it, or None if there is none."""
        text = self._job.ctx.job.metadata
        try:
            loaded = json.loads(text)
        except ValueError:
            loaded = None
        return loaded if isinstance(loaded, dict) else text or None

    @property
    def instructions(self) -> str | None:
        """The instructions that the session was started with; None if there are none."""
        return self._job.order.instructions

    @property
    def takes_over(self) -> bool:
        """Whether there has been talk before, with an agent that is gone."""
        return self._job.order.takes_over

    @property
    def is_canary(self) -> bool:
        """Whether nobody listens: Rollcall only tries whether an agent comes."""
        return self._job.order.canary

    @property
    def order(self) -> DispatchOrder:
        """All of the dispatch: the mode and models that the session asks for, and who its caller is."""
        return self._job.order

    def name_callers(self, caller_at: Callable[[float], str | None]) -> None:
        """Say whose words are heard, where the agent itself chooses whom it talks with.

        caller_at: the identity of the caller at a time (Unix seconds); None if nobody was there. Without
        this, it is whom the SDK has linked.
        """
        self._job.caller_at = caller_at

    def note(self, name: str, data: Any = None) -> None:
        """Add a turn of one's own to the transcript, of kind `note`.

        name: what it is about, as `order_taken`. data: anything that JSON has. Raises `TypeError` if JSON
        has no such value.
        """
        text = json.dumps(data, ensure_ascii=False)
        self._job.turns.note(Note(f"note_{secrets.token_hex(6)}", name, text, time.time()))

    def warn(self, code: str, detail: str) -> None:
        """Tell of an error that the call survives; the session's attempt shows it.

        code: what went wrong, in one word for programs. detail: in a sentence for people.
        """
        self._job.warn(code, detail)

    def fail(self, code: str, detail: str) -> None:
        """End this job because it can't do its work; Rollcall makes another attempt, if there is one left.

        code: what went wrong, in one word for programs. detail: in a sentence for people. Both are in the
        session's failure.
        """
        self._job.fail(code, detail)

    def end(self, reason: str) -> None:
        """End this job in order, and its session. reason: why, in one word; the session's history has it."""
        self._job.stop(reason, in_order=True)


def current() -> RollcallJob | None:
    """The job that this code runs in; None if Rollcall has not dispatched it, or this is no job."""
    ctx = get_job_context(required=False)
    job = RunningJob.of(ctx) if ctx is not None else None
    return RollcallJob(job) if job is not None else None
