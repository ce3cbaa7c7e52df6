"""Of rows that are written together, only those whose data the database refuses are left out."""

from collections.abc import Sequence

import asyncpg
import pytest

from shared.platform.database.set_aside import write_what_can_be


class Table:
    """Takes rows all at once or not at all, and never one that is refused."""

    def __init__(self, refused: dict[int, Exception]) -> None:
        self.refused = refused
        self.rows: list[int] = []
        self.tries = 0

    async def write(self, rows: Sequence[int]) -> int:
        self.tries += 1
        for row in rows:
            if row in self.refused:
                raise self.refused[row]
        self.rows += rows
        return len(rows)


async def write(table: Table, rows: Sequence[int]) -> list[int]:
    return await write_what_can_be(rows, table.write, what="test", name=str)


async def test_all_are_written_at_once_where_none_is_refused() -> None:
    table = Table({})
    assert await write(table, range(100)) == [100]
    assert table.tries == 1
    assert await write(table, []) == []


@pytest.mark.parametrize("refused", [{0}, {99}, {37}, {0, 1, 50, 99}, set(range(100))])
async def test_only_those_that_are_refused_are_left_out(refused: set[int]) -> None:
    table = Table({row: asyncpg.CheckViolationError("no") for row in refused})
    assert sum(await write(table, range(100))) == 100 - len(refused)
    assert table.rows == [row for row in range(100) if row not in refused]


@pytest.mark.parametrize(
    "error", [asyncpg.UndefinedColumnError("gone"), asyncpg.SerializationError("again"), ZeroDivisionError()]
)
async def test_what_is_nobodys_row_at_fault_is_raised(error: Exception) -> None:
    table = Table({3: error})
    with pytest.raises(type(error)):
        await write(table, range(4))
    assert table.tries == 1
