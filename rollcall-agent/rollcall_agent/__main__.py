"""Run an agent's file with Rollcall attached: `python -m rollcall_agent my_agent.py start`.

What follows the file is for livekit-agents' own command line.
"""

import importlib
import sys
from pathlib import Path

from livekit.agents import cli
from livekit.agents.cli.discover import get_import_data

from rollcall_agent.rollcall import Rollcall


def main() -> None:
    """Import the file, attach Rollcall to its `AgentServer`, and run that."""
    if len(sys.argv) < 3 or not sys.argv[1].endswith(".py"):
        sys.stderr.write("usage: python -m rollcall_agent my_agent.py start\n")
        raise SystemExit(2)
    path, *rest = sys.argv[1:]
    sys.argv = [path, *rest]
    # By its name as a module, so that the processes of its jobs find the entrypoint again.
    found = get_import_data(path=Path(path))
    server = getattr(importlib.import_module(found.module_data.module_import_str), found.app_name)
    Rollcall(server)
    cli.run_app(server)


if __name__ == "__main__":
    main()
