"""How deeply JSON that comes from outside is nested."""

from typing import Any


def is_deeper(value: Any, depth: int) -> bool:
    """Return whether objects and lists are nested more than `depth` deep.

    Checked level by level: JSON writers recurse, and fail at a depth far below what a body can hold.
    """
    level = [value]
    for _ in range(depth):
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
    return any(isinstance(found, dict | list) for found in level)
