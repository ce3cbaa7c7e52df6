"""Write the API's OpenAPI document, of which the console's types are made: `python -m tools.openapi FILE`."""

import json
import sys
from pathlib import Path

from pydantic import SecretStr

from services.api.app import create_app
from services.api.settings import ApiSettings


def openapi() -> str:
    """Return the document as JSON."""
    settings = ApiSettings(
        livekit_url="ws://127.0.0.1:7880",
        livekit_api_key="devkey",
        livekit_api_secret=SecretStr("not-a-secret-since-nothing-connects"),
    )
    return json.dumps(create_app(settings).openapi(), indent=1)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(openapi(), encoding="utf-8")
