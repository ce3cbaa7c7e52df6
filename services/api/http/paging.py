"""Pages of a list: the rows after a cursor, which is made from the last row of the page before."""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def one_more(limit: int) -> int:
    """How many rows to read for a page of `limit`: whether there is another page shows in the last one."""
    return limit + 1


def cut_page(rows: Sequence[T], limit: int, cursor_of: Callable[[T], str]) -> tuple[list[T], str | None]:
    """Return the page of `rows`, which are `one_more(limit)` at most, and the cursor of the next page."""
    page = list(rows[:limit])
    return page, cursor_of(page[-1]) if len(rows) > limit else None
