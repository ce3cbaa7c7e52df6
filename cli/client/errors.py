"""What may go wrong with the API; told to the user as it is."""

from typing import Any


class ApiError(Exception):
    """The API refused or can't be reached; the message is for the user.

    `status` and `code` are the refusal's, `problem` its whole body; None and {} where there was none.
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
    """Nobody answers at the API's address."""
