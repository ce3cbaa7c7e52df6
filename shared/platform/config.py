"""Load a settings class, and report every fault by the name of its variable."""

import sys
from typing import NoReturn, TypeVar

from pydantic import ValidationError

from shared.contracts.exposure import why_exposed
from shared.contracts.settings import LiveKitSettings, Settings
from shared.platform.descriptors import raise_descriptor_limit
from shared.platform.output import never_refuse_text

S = TypeVar("S", bound=Settings)

EXIT_BAD_CONFIGURATION = 2


def load_settings(settings: type[S]) -> S:
    """Read `settings` from the environment and `.env`.

    Each process calls this first. Exits with code 2, after naming each variable that is missing or malformed.
    It also exits if the LiveKit secret is a well-known one and other machines can reach what it protects.
    """
    never_refuse_text()
    raise_descriptor_limit()
    try:
        loaded = settings()
    except ValidationError as invalid:
        _exit_naming_each_fault(invalid)
    if isinstance(loaded, LiveKitSettings):
        _refuse_exposed(loaded)
    return loaded


def _refuse_exposed(settings: LiveKitSettings) -> None:
    why = why_exposed(settings.livekit_api_secret.get_secret_value(), settings.reached_at)
    if why is not None:
        sys.stderr.write(f"LIVEKIT_API_SECRET {why}\n")
        raise SystemExit(EXIT_BAD_CONFIGURATION)


def _exit_naming_each_fault(invalid: ValidationError) -> NoReturn:
    for fault in invalid.errors(include_input=False, include_url=False):
        variable = str(fault["loc"][0]).upper() if fault["loc"] else "settings"
        problem = "missing" if fault["type"] == "missing" else f"malformed: {fault['msg']}"
        sys.stderr.write(f"environment variable {variable} is {problem}\n")
    sys.stderr.write("set it in the environment or in .env (see .env.example), then start again\n")
    raise SystemExit(EXIT_BAD_CONFIGURATION)


if __name__ == "__main__":
    # For programs that start a LiveKit server, which accepts any secret. The services check it themselves.
    load_settings(LiveKitSettings)
