"""Decide whether requests need a key, and whether it is safe if they don't."""

from enum import StrEnum
from typing import Final

from services.api.settings import ApiSettings
from shared.contracts.exposure import is_loopback
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

OPEN_TO_ALL: Final = (
    "authentication is OFF: whoever reaches this API may start, read, end and erase every session;"
    " API_AUTH=keys turns it on, and `rollcall keys create` makes a key"
)


class Auth(StrEnum):
    """Whether requests need a key."""

    OFF = "off"
    KEYS = "keys"


class Exposed(Exception):
    """Others could reach an API that needs no key, and no setting says that this is intended."""


def decide_auth(settings: ApiSettings) -> Auth:
    """Return what `API_AUTH` says.

    If it is unset, return "off" if only this machine can reach the API; else raise `Exposed`.
    """
    if settings.api_auth is not None:
        return Auth(settings.api_auth)
    address = settings.api_published_on or settings.api_host
    if not is_loopback(address):
        raise Exposed(
            f"the API would listen on {address}, where others can reach it, and ask nobody for a key:"
            " set API_AUTH=keys, or API_AUTH=off if everybody who can reach it may do everything"
        )
    return Auth.OFF


def warn_if_open(auth: Auth, settings: ApiSettings) -> None:
    """Log a warning that requests need no key."""
    if auth is Auth.OFF:
        log.warning(
            "authentication_off", message=OPEN_TO_ALL, address=f"{settings.api_host}:{settings.api_port}"
        )
