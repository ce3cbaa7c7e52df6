"""Find or build the LiveKit server, telling how far it is."""

import asyncio
import os
import sys

from devstack.provision.livekit import ensure_livekit_server
from devstack.provision.server import ProvisionError


def main() -> None:
    """Entry point: prints where the server is; exit code 1 and the reason if it can't be had."""
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
