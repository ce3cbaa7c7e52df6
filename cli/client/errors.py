"""Errors of the client. Commands show their messages to the user unchanged."""

from typing import Any


class ApiError(Exception):
    """The API refused or can't be reached; the message is for the user.

    `status` and `code` are those of the refusal, `problem` is its whole body; None and {} without an answer.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        problem: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.problem = problem or {}


class Unreachable(ApiError):
    """Nothing answers at the API's address."""
