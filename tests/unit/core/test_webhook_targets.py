"""Webhooks go to public addresses only, however an address is written, unless a setting says otherwise."""

from typing import Any

import pytest

from shared.contracts.settings import WebhookSettings
from shared.core.webhooks.targets import ForbiddenTarget, TargetPolicy

NOT_PUBLIC = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.8.8.8",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
PUBLIC = ["1.1.1.1", "93.184.216.34", "::ffff:8.8.8.8", "64:ff9b::808:808", "2606:4700::1111", "2a00:1450::1"]


def policy(**settings: Any) -> TargetPolicy:
    return TargetPolicy(WebhookSettings(**settings))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(ForbiddenTarget, match="does not lead to a public address"):
        policy().check_address(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    policy().check_address(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_a_setting_allows_all_of_them(address: str) -> None:
    policy(webhook_allow_private=True).check_address(address)


def test_a_setting_allows_some_networks_and_no_others() -> None:
    some = policy(webhook_allowed_networks="10.1.0.0/16, fd00::/8")
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd12::1", "1.1.1.1"):
        some.check_address(address)
    for address in ("10.2.0.1", "127.0.0.1", "fc00::1"):
        with pytest.raises(ForbiddenTarget):
            some.check_address(address)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com/", "must begin with https://"),
        ("ftp://example.com/", "must begin with https://"),
        ("file:///etc/passwd", "must begin with https://"),
        ("https:///path", "must begin with https://|no URL"),
        ("example.com/hook", "must begin with https://"),
        ("https://user:word@example.com/", "must not hold a name or a password"),
        ("https://example.com:99999/", "not a URL"),
        ("https://[::1", "not a URL"),
        ("https://127.0.0.1/", "does not lead to a public address"),
        ("https://[::1]/", "does not lead to a public address"),
        ("https://[::ffff:127.0.0.1]:8080/", "does not lead to a public address"),
        (f"https://example.com/{'a' * 2048}", "more than 2048 characters"),
    ],
)
def test_a_url_that_is_not_allowed_is_refused_without_asking_anybody(url: str, why: str) -> None:
    with pytest.raises(ForbiddenTarget, match=why):
        policy().check_url(url)


def test_a_setting_allows_http() -> None:
    policy(webhook_allow_http=True).check_url("http://example.com/hook")


@pytest.mark.parametrize(
    "host", ["localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "0x7f.1"]
)
async def test_what_a_name_or_a_number_leads_to_decides(host: str) -> None:
    with pytest.raises(ForbiddenTarget, match="does not lead to a public address"):
        await policy().check_target(f"https://{host}/", project="default")


async def test_a_name_that_leads_nowhere_is_refused() -> None:
    with pytest.raises(ForbiddenTarget, match="can't be resolved"):
        await policy().check_target("https://nobody.invalid/", project="default")
