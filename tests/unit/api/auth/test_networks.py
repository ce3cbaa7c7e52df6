"""Visitors are counted by network, however their address is written."""

import pytest

from services.api.auth.bad_keys import WINDOW_S, BadKeys
from services.api.auth.networks import network_of


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"),
        ("2001:DB8:1:2::1", "2001:db8:0001:0002:0:0:0:9"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:c000:207", "192.0.2.7"),
        ("64:ff9b::192.0.2.7", "192.0.2.7"),
        ("2002:c000:0207:1::1", "192.0.2.7"),
        ("2002:c000:0207:1::1", "2002:c000:0207:ffff::1"),
        ("fe80::1%eth0", "fe80::2%eth1"),
    ],
)
def test_addresses_of_one_network_count_as_one(one: str, other: str) -> None:
    assert network_of(one) == network_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:3::1"),
        ("192.0.2.7", "192.0.2.8"),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.8"),
        ("64:ff9b::192.0.2.7", "64:ff9b::192.0.2.8"),
    ],
)
def test_addresses_of_two_networks_count_apart(one: str, other: str) -> None:
    assert network_of(one) != network_of(other)


@pytest.mark.parametrize("odd", ["", "testclient", "300.1.2.3", "%eth0", "/run/api.sock"])
def test_what_is_no_address_is_taken_as_it_is(odd: str) -> None:
    assert network_of(odd) == odd


def test_bad_keys_are_counted_for_a_minute_and_each_network_alone() -> None:
    time = [100.0]
    keys = BadKeys(2, clock=lambda: time[0])
    for _ in range(2):
        assert not keys.too_many("a")
        keys.count_bad_key("a")
    assert keys.too_many("a")
    assert not keys.too_many("b")
    headers = keys.refuse("a").headers
    assert headers is not None
    assert headers["Retry-After"] == str(WINDOW_S)
    time[0] += WINDOW_S
    assert not keys.too_many("a")


def test_networks_that_are_counted_take_bounded_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.api.auth.bad_keys._MOST_NETWORKS", 10)
    keys = BadKeys(1)
    for number in range(100):
        keys.count_bad_key(f"network-{number}")
    counted = [number for number in range(100) if keys.too_many(f"network-{number}")]
    assert counted == list(range(90, 100))


def test_no_limit_is_none() -> None:
    keys = BadKeys(0)
    keys.count_bad_key("a")
    assert not keys.too_many("a")
