"""Agent names as a label of metrics. Clients choose them, so a process tells only so many apart.

Names that the operator has chosen always have a label of their own: the setting's, those of workers in the
registry, and those of agents that have joined. Of the others, the first `MOST_UNPROVEN` have.
"""

from typing import Final

MOST_PROVEN: Final = 100
MOST_UNPROVEN: Final = 20
OTHERS: Final = "other"

_proven: set[str] = set()
_unproven: set[str] = set()


def agent_name_proven(agent_name: str) -> None:
    """An agent of this name is known to exist, whatever clients ask for."""
    if len(_proven) < MOST_PROVEN:
        _proven.add(agent_name)


def agent_label(agent_name: str) -> str:
    """The name itself; `OTHERS` for one that nothing proves, after `MOST_UNPROVEN` such names."""
    if agent_name in _proven or agent_name in _unproven:
        return agent_name
    if len(_unproven) >= MOST_UNPROVEN:
        return OTHERS
    _unproven.add(agent_name)
    return agent_name
