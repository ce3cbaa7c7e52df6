"""Agent names as a label of metrics. Clients choose them, so a process tells only so many apart."""

from typing import Final

MOST_NAMES: Final = 20
OTHERS: Final = "other"

_known: set[str] = set()


def agent_label(agent_name: str) -> str:
    """The name itself, or `OTHERS` once `MOST_NAMES` different ones were seen."""
    if agent_name not in _known:
        if len(_known) >= MOST_NAMES:
            return OTHERS
        _known.add(agent_name)
    return agent_name
