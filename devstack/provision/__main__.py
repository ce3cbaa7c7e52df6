"""Find or build the LiveKit server, and show the progress."""

import asyncio
import os
import sys

from devstack.provision.livekit import ensure_livekit_server
from devstack.provision.server import ProvisionError


def main() -> None:
    """Print the path of the server; on failure, print the reason and exit with code 1."""
    try:
        server = asyncio.run(ensure_livekit_server(os.environ, tell=_tell))
    except ProvisionError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    print(f"LiveKit server: {server}", flush=True)


def _tell(message: str) -> None:
    print(message, flush=True)


if __name__ == "__main__":
    main()
