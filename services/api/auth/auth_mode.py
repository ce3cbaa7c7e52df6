"""Whether a key is asked for, and whether it is safe not to."""

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
    """Whether a key is asked for."""

    OFF = "off"
    KEYS = "keys"


class Exposed(Exception):
    """Others could reach an API that asks for no key, and nobody has said that this is meant."""


def decide_auth(settings: ApiSettings) -> Auth:
    """What `API_AUTH` says; where it says nothing, off on this machine alone. Raises `Exposed`."""
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
    """Say loudly that no key is asked for."""
    if auth is Auth.OFF:
        log.warning(
            "authentication_off", message=OPEN_TO_ALL, address=f"{settings.api_host}:{settings.api_port}"
        )
