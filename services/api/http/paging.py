"""Pages of a list: the rows after a cursor, which is made from the last row of the previous page."""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def one_more(limit: int) -> int:
    """Return how many rows to read for a page of `limit`: one more shows whether there is another page."""
    return limit + 1


def cut_page(rows: Sequence[T], limit: int, cursor_of: Callable[[T], str]) -> tuple[list[T], str | None]:
    """Return the page from `rows` (at most `one_more(limit)`), and the cursor of the next page."""
    page = list(rows[:limit])
    return page, cursor_of(page[-1]) if len(rows) > limit else None
