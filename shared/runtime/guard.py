"""Refuse a LiveKit server to be started with a secret that is none: `python -m shared.runtime.guard`.

For whatever starts a LiveKit server, which takes any secret; the services look for themselves.
"""

from shared.contracts.settings import LiveKitSettings
from shared.runtime.config import load_settings

if __name__ == "__main__":
    load_settings(LiveKitSettings)
