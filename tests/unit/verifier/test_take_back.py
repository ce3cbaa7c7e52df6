"""Which pool's share is taken back, and who gets it."""

from datetime import timedelta

import pytest

from services.verifier.pools.pool_records import PoolRecord
from services.verifier.pools.take_back import Rule, judge

RULE = Rule(window=timedelta(minutes=30), min_sessions=10, max_failed_percent=25)
SHARES = {"blue": 70, "green": 10, "red": 20}


def verdict(**pools: tuple[int, int]) -> dict[str, int] | None:
    """The shares that follow of so many sessions and failed ones; None: nothing changes."""
    records = {pool: PoolRecord(sessions, failed, "s") for pool, (sessions, failed) in pools.items()}
    found = judge(SHARES, records, RULE)
    return None if found is None else dict(found.shares)


@pytest.mark.parametrize(
    ("pools", "shares"),
    [
        ({"blue": (40, 1), "green": (10, 3)}, {"blue": 80, "green": 0, "red": 20}),
        ({"blue": (40, 40), "green": (10, 0)}, {"blue": 0, "green": 80, "red": 20}),
        ({"blue": (40, 40), "green": (10, 10), "red": (10, 2)}, {"blue": 0, "green": 0, "red": 100}),
        ({"blue": (40, 0), "green": (10, 9), "red": (10, 0)}, {"blue": 80, "green": 0, "red": 20}),
    ],
)
def test_the_share_of_a_failing_pool_goes_to_the_largest_one_that_works(
    pools: dict[str, tuple[int, int]], shares: dict[str, int]
) -> None:
    assert verdict(**pools) == shares


@pytest.mark.parametrize(
    "pools",
    [
        {"blue": (40, 1), "green": (9, 9)},  # too few sessions
        {"blue": (8, 2), "green": (8, 2)},
        {"blue": (40, 10), "green": (40, 10)},  # 25 % are allowed
        {"blue": (40, 40), "green": (40, 40)},  # all fail: nobody would gain
        {"blue": (5, 0), "green": (40, 40)},  # nobody knows whether blue works
        {"blue": (40, 0), "black": (40, 40)},  # it has no share
        {},
    ],
)
def test_nothing_changes_without_proof_of_both(pools: dict[str, tuple[int, int]]) -> None:
    assert verdict(**pools) is None
