"""Redact what leaves a job's process."""

from collections.abc import Callable
from typing import Any, Final

from rollcall_agent.transport import Publishing
from shared.contracts.events import AgentReported, Envelope, TurnFinished
from shared.platform.logs.logs import get_logger

# Of a text that the user's function could not redact, nothing leaves.
FAILED: Final = "[redaction failed]"

log = get_logger(__name__)


class RedactedOutbox:
    """Hands on every event with its text redacted: what was said, and the words of an error."""

    def __init__(self, outbox: Publishing, redact: Callable[[str], str]) -> None:
        self._outbox = outbox
        self._redact = redact

    def offer(self, stream: str, envelope: Envelope) -> bool:
        """Take an event; see `rollcall_agent.ports.Outbox`."""
        return self._outbox.offer(stream, envelope.model_copy(update={"data": self._redacted(envelope)}))

    async def flush(self, *, within_s: float) -> bool:
        """See `Publishing`."""
        return await self._outbox.flush(within_s=within_s)

    def _redacted(self, envelope: Envelope) -> dict[str, Any]:
        data = dict(envelope.data)
        if envelope.type == TurnFinished.type:
            data["text"] = self._safely(data["text"])
        elif envelope.type == AgentReported.type and isinstance(data.get("error"), dict):
            data["error"] = {**data["error"], "message": self._safely(data["error"]["message"])}
        return data

    def _safely(self, text: str) -> str:
        try:
            return self._redact(text)
        except Exception as error:  # whose words may be the text itself
            log.error("redaction_failed", error_type=type(error).__name__)  # noqa: TRY400
            return FAILED
