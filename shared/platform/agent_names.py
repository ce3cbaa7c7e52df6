"""Agent names as a label of metrics. Clients choose them, so a process labels only a limited number of them.

Proven names always get a label of their own: the name in the setting, the names of workers in the registry,
and the names of agents that have joined. Of all other names, the first `MOST_UNPROVEN` get one.
"""

from typing import Final

MOST_PROVEN: Final = 100
MOST_UNPROVEN: Final = 20
OTHERS: Final = "other"

_proven: set[str] = set()
_unproven: set[str] = set()


def agent_name_proven(agent_name: str) -> None:
    """Remember that an agent of this name exists, so that the name keeps a label of its own."""
    if len(_proven) < MOST_PROVEN:
        _proven.add(agent_name)


def agent_label(agent_name: str) -> str:
    """Return the name; or `OTHERS` for an unproven name, once there are `MOST_UNPROVEN` of them."""
    if agent_name in _proven or agent_name in _unproven:
        return agent_name
    if len(_unproven) >= MOST_UNPROVEN:
        return OTHERS
    _unproven.add(agent_name)
    return agent_name
