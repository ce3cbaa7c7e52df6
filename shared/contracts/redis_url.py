"""Read REDIS_URL, and a BROKER_URL of a Redis, for redis-py, kombu and the doctor."""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from shared.contracts.url_parts import UrlParts, take_apart

PORT: Final = 6379
# Readers of streams and queues block in Redis for 1 s; the answer needs time after that.
SHORTEST_TIMEOUT_S: Final = 1.5
REDIS_SCHEMES: Final = ("redis", "rediss", "valkey", "valkeys", "unix", "redis+socket")

_TLS: Final = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
_OPTIONS: Final = ("db", "socket_timeout", "socket_connect_timeout", "health_check_interval", "client_name")
_FALSE: Final = frozenset({"0", "false", "no", "f", "n"})


@dataclass(frozen=True)
class Tls:
    """How a server's certificate is checked: with the system's authorities, unless the URL names others."""

    verify: bool = True
    check_hostname: bool = True
    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None


@dataclass(frozen=True)
class RedisUrl:
    """One server. If `path` is set, it is a unix socket, and there is no host."""

    host: str
    port: int
    path: str | None
    username: str | None
    password: str | None = field(repr=False)
    db: int
    tls: Tls | None
    socket_timeout_s: float | None = None
    socket_connect_timeout_s: float | None = None
    health_check_interval_s: int | None = None
    client_name: str | None = None

    @property
    def kombu_url(self) -> str:
        """Return the URL as kombu spells it, without the options; those go into Celery's configuration."""
        login = ""
        if self.username or self.password:
            login = f"{quote(self.username or '', safe='')}:{quote(self.password or '', safe='')}@"
        if self.path is not None:
            return f"redis+socket://{login}{quote(self.path)}?virtual_host={self.db}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{login}{host}:{self.port}/{self.db}"


def read_redis_url(url: str) -> RedisUrl:
    """Return the parsed URL; raises `ValueError` with a reason that contains no secret."""
    _refuse_fleets(url)
    parts = take_apart(url, default_port=PORT)
    if parts.scheme not in REDIS_SCHEMES:
        raise ValueError(f"must start with one of {', '.join(s + '://' for s in REDIS_SCHEMES)}")
    tls = parts.scheme in ("rediss", "valkeys")
    socket = parts.scheme in ("unix", "redis+socket")
    parts.check_options(
        [*_OPTIONS, *(_TLS if tls else ()), *(["virtual_host"] if parts.scheme == "redis+socket" else ())]
    )
    interval = parts.number("health_check_interval")
    path = None
    if socket:
        path = f"/{parts.path}".replace("//", "/")
        if path == "/" or any(host for host, _ in parts.hosts):
            raise ValueError("must name the socket's path, after three slashes: unix:///run/redis.sock")
    elif not parts.hosts or not parts.hosts[0][0]:
        raise ValueError("names no host")
    host, port = parts.hosts[0] if parts.hosts else ("", PORT)
    return RedisUrl(
        host=host,
        port=port,
        path=path,
        username=parts.username,
        password=parts.password,
        db=_db(parts, socket=socket),
        tls=tls_of(parts) if tls else None,
        socket_timeout_s=parts.number("socket_timeout", at_least=SHORTEST_TIMEOUT_S),
        socket_connect_timeout_s=parts.number("socket_connect_timeout", at_least=0.01),
        health_check_interval_s=None if interval is None else int(interval),
        client_name=parts.option("client_name"),
    )


def _refuse_fleets(url: str) -> None:
    scheme, _, rest = url.partition("://")
    if "sentinel" in scheme.lower():
        raise ValueError(
            "is a URL of Redis Sentinel, which is not supported: name the primary, by a name or a proxy "
            "that follows it (redis://host:6379/0)"
        )
    if "cluster" in scheme.lower() or "," in rest.rpartition("@")[2].partition("/")[0] or ";" in rest:
        raise ValueError(
            "names several servers; Redis Cluster is not supported: name one (redis://host:6379/0)"
        )


def _db(parts: UrlParts, *, socket: bool) -> int:
    said = parts.option("db") or parts.option("virtual_host") or ("" if socket else parts.path.strip("/"))
    if said and not (said.isascii() and said.isdigit()):
        raise ValueError("has a database that is no number: redis://host:6379/0")
    return int(said or 0)


def tls_of(parts: UrlParts) -> Tls:
    """Return the TLS settings in the options; raises `ValueError`."""
    wanted = (parts.option("ssl_cert_reqs") or "required").lower().removeprefix("cert_")
    if wanted not in ("required", "none"):
        raise ValueError("ssl_cert_reqs must be required or none")
    verify = wanted == "required"
    named = (parts.option("ssl_check_hostname") or "true").lower() not in _FALSE
    return Tls(
        verify=verify,
        check_hostname=verify and named,
        ca_certs=parts.option("ssl_ca_certs"),
        certfile=parts.option("ssl_certfile"),
        keyfile=parts.option("ssl_keyfile"),
    )
