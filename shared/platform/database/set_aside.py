"""Write many rows, and set aside each row whose data the database refuses, so that it holds up no other."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from prometheus_client import Counter

from shared.platform.database.errors import DATABASE_ERRORS, Kind, fault_of
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

_REFUSED = Counter(
    "database_rows_refused_total", "Rows that the database refused because of their data.", ["what"]
)

Row = TypeVar("Row")
Written = TypeVar("Written")


async def write_what_can_be(
    rows: Sequence[Row],
    write: Callable[[Sequence[Row]], Awaitable[Written]],
    *,
    what: str,
    name: Callable[[Row], str],
) -> list[Written]:
    """Write all rows at once, or else the parts that can be written; return the results of `write`.

    Each `write` is a transaction of its own. `what` is the kind of row, for metrics. `name` returns the name
    of one row, for the log. Raises the error of `write` if the rows are not at fault.
    """
    try:
        return [await write(rows)] if rows else []
    except DATABASE_ERRORS as error:
        fault = fault_of(error)
        if fault.kind is not Kind.DATA:
            raise
    if len(rows) == 1:
        _REFUSED.labels(what).inc()
        log.error("row_refused", what=what, row=name(rows[0]), state=fault.state)
        return []
    middle = len(rows) // 2
    first = await write_what_can_be(rows[:middle], write, what=what, name=name)
    return first + await write_what_can_be(rows[middle:], write, what=what, name=name)
