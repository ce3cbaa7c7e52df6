"""What all events have in common."""

from enum import StrEnum
from typing import ClassVar

from pydantic import ConfigDict

from shared.contracts.text import CleanModel


class Severity(StrEnum):
    """How urgent an event is for the operator."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class UnknownEvent(ValueError):
    """An envelope has a type that no model here describes."""


class Event(CleanModel):
    """Base of all events: frozen, with clean text; it ignores keys that a later minor version adds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: ClassVar[str]
    severity: ClassVar[Severity] = Severity.INFO
