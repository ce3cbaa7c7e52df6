"""Which pool a session gets by the shares."""

from collections import Counter

import pytest

from shared.contracts.identifiers import new_id
from shared.core.pools.traffic import pool_of


def test_each_pool_gets_its_share() -> None:
    shares = {"blue": 90, "green": 10, "": 0}
    drawn = Counter(pool_of(new_id(), shares) for _ in range(10_000))
    assert set(drawn) == {"blue", "green"}
    assert drawn["green"] == pytest.approx(1000, abs=200)  # six standard deviations


def test_the_same_session_gets_the_same_pool() -> None:
    ids = [new_id() for _ in range(50)]
    shares = {"blue": 50, "green": 50}
    assert [pool_of(one, shares) for one in ids] == [
        pool_of(one, dict(reversed(shares.items()))) for one in ids
    ]


def test_a_pool_with_all_of_the_traffic_gets_every_session() -> None:
    assert {pool_of(new_id(), {"": 0, "blue": 100, "green": 0}) for _ in range(100)} == {"blue"}
