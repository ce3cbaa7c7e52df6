"""Take the URLs of servers apart, even with several hosts or an unescaped password."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

# The first pattern reads what RFC 3986 allows. The second accepts a password with unescaped characters.
_REST: Final = r"(?P<hosts>[^/?#@]*)(?:/(?P<path>[^?#]*))?(?:\?(?P<query>[^#]*))?$"
_FORMS: Final = (
    re.compile(rf"^(?P<scheme>[\w+.-]+)://(?:(?P<user>[^:/?#@]*)(?::(?P<password>[^/?#@]*))?@)?{_REST}"),
    re.compile(rf"^(?P<scheme>[\w+.-]+)://(?P<user>[^:/@]*):(?P<password>.*)@{_REST}"),
)
Host = tuple[str, int]


def public_url(url: str) -> str:
    """Return a server's URL for logs and the registry: without a password, which it may hold."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"


@dataclass(frozen=True)
class UrlParts:
    """The unescaped parts of a URL. `path` has no leading slash. The repr shows no password."""

    scheme: str
    username: str | None
    password: str | None = field(repr=False)
    hosts: tuple[Host, ...] = ()
    path: str = ""
    options: dict[str, list[str]] = field(default_factory=dict)

    def option(self, name: str) -> str | None:
        """Return the last value of this option; None if it is not given."""
        return self.options.get(name, [None])[-1]

    def number(self, name: str, *, at_least: float = 0) -> float | None:
        """Return the value of a numeric option; raises `ValueError`."""
        if (value := self.option(name)) is None:
            return None
        try:
            number = float(value)
        except ValueError:
            raise ValueError(f"{name} must be a number") from None
        if not at_least <= number < float("inf"):
            raise ValueError(f"{name} must be at least {at_least:g}")
        return number

    def check_options(self, known: Collection[str]) -> None:
        """Raise `ValueError` for an option that nothing would use."""
        if unknown := sorted(set(self.options) - set(known)):
            raise ValueError(f"has the unknown option {unknown[0]}; known are {', '.join(sorted(known))}")


def take_apart(url: str, *, default_port: int) -> UrlParts:
    """Return the parts; raises `ValueError` with a reason that contains no part of the URL."""
    fault = "is not a URL of the form scheme://user:password@host:port/name"
    for form in _FORMS:
        found = form.match(url)
        if found is None:
            continue
        try:
            hosts = tuple(host_of(text, default_port) for text in found["hosts"].split(",") if text)
        except ValueError as error:
            fault = str(error)
            continue
        options: dict[str, list[str]] = {}
        for name, value in parse_qsl(found["query"] or "", keep_blank_values=True):
            options.setdefault(name, []).append(value)
        return UrlParts(
            scheme=found["scheme"].lower(),
            username=_unescaped(found["user"]),
            password=_unescaped(found["password"]),
            hosts=hosts,
            path=unquote(found["path"] or ""),
            options=options,
        )
    raise ValueError(fault)


def host_of(text: str, default_port: int) -> Host:
    """Return host and port of `host`, `host:port`, `[address]:port` or an escaped folder.

    Raises `ValueError`.
    """
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError("has an invalid address in brackets")
        port = port[1:]
    elif text.startswith("/"):
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError("has an invalid port (special characters of a password must be escaped)")
    return unquote(host), int(port or default_port)


def _unescaped(text: str | None) -> str | None:
    return unquote(text) if text else None
