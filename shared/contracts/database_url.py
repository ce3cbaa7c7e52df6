"""Read DATABASE_URL in the usual forms: PostgreSQL's own, with libpq's parameters, and SQLAlchemy's.

https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
"""

from dataclasses import dataclass, field
from typing import Final

from shared.contracts.url_parts import Host, UrlParts, host_of, take_apart

PORT: Final = 5432
POSTGRES_SCHEMES: Final = ("postgresql", "postgres", "postgresql+asyncpg", "postgres+asyncpg")
SQLITE_SCHEME: Final = "sqlite+aiosqlite"

_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# SQLAlchemy and others write ssl=, with the same values or with true or false.
_SSL_WORDS: Final = {"true": "require", "1": "require", "false": "disable", "0": "disable"}
_TLS_FILES: Final = (
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslcrl",
    "sslnegotiation",
    "ssl_min_protocol_version",
)
_TRUTHS: Final = {"true": True, "1": True, "false": False, "0": False}
# Parameters that are sent to the server when a connection begins.
_SERVER: Final = ("application_name", "options", "client_encoding")
# Hints for other clients. Ignoring them breaks nothing.
_IGNORED: Final = (
    "fallback_application_name",
    "gssencmode",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "prepared_statement_cache_size",
)
_ADDRESS: Final = ("host", "port", "user", "password", "passfile", "dbname")
_TLS: Final = ("sslmode", "ssl", "sslrootcert", "channel_binding", *_TLS_FILES)
_OURS: Final = ("connect_timeout", "command_timeout", "target_session_attrs", "pgbouncer")
_KNOWN: Final = (*_ADDRESS, *_TLS, *_OURS, *_SERVER, *_IGNORED)


@dataclass(frozen=True)
class PostgresUrl:
    """Where PostgreSQL is, and how to connect to it.

    A host that begins with a slash is a folder of a socket.
    """

    hosts: tuple[Host, ...]
    user: str | None
    password: str | None = field(repr=False)
    database: str | None
    sslmode: str | None
    sslrootcert: str | None
    tls_options: dict[str, str] = field(repr=False)
    target_session_attrs: str
    server_settings: dict[str, str]
    connect_timeout_s: float | None
    command_timeout_s: float | None
    passfile: str | None
    pooled: bool | None
    """Whether a pooler gives each transaction another connection; None if that has to be detected."""


def is_postgres(url: str) -> bool:
    """Return whether the URL is one of PostgreSQL, not of SQLite."""
    return url.partition("://")[0].lower() in POSTGRES_SCHEMES


def read_postgres_url(url: str) -> PostgresUrl:
    """Return the parsed URL; raises `ValueError` with a reason that contains no secret."""
    parts = take_apart(url, default_port=PORT)
    if parts.scheme not in POSTGRES_SCHEMES:
        raise ValueError(f"must start with one of {', '.join(s + '://' for s in POSTGRES_SCHEMES)}")
    parts.check_options(_KNOWN)
    if parts.option("channel_binding") == "require":
        raise ValueError("has channel_binding=require, which the driver does not support: remove it")
    hosts = _hosts(parts)
    sslmode = _sslmode(parts)
    pgbouncer = parts.option("pgbouncer")
    if pgbouncer is not None and pgbouncer.lower() not in _TRUTHS:
        raise ValueError("pgbouncer must be true or false")
    return PostgresUrl(
        hosts=hosts,
        user=parts.username or parts.option("user"),
        password=parts.password or parts.option("password"),
        database=parts.path or parts.option("dbname"),
        sslmode=sslmode,
        sslrootcert=parts.option("sslrootcert"),
        tls_options={name: values[-1] for name, values in parts.options.items() if name in _TLS_FILES},
        target_session_attrs=_target(parts, several=len(hosts) > 1),
        server_settings={name: values[-1] for name, values in parts.options.items() if name in _SERVER},
        # In libpq, 0 means no limit; here it means the default.
        connect_timeout_s=parts.number("connect_timeout") or None,
        command_timeout_s=parts.number("command_timeout") or None,
        passfile=parts.option("passfile"),
        pooled=None if pgbouncer is None else _TRUTHS[pgbouncer.lower()],
    )


def _hosts(parts: UrlParts) -> tuple[Host, ...]:
    named = [text for value in parts.options.get("host", ()) for text in value.split(",") if text]
    ports = (parts.option("port") or "").split(",") if parts.option("port") else []
    hosts = parts.hosts or tuple(host_of(text, PORT) for text in named)
    if not ports:
        return hosts
    if len(ports) not in (1, len(hosts)) or not all(port.isascii() and port.isdigit() for port in ports):
        raise ValueError("must name one port, or one for each host")
    return tuple((host, int(ports[min(n, len(ports) - 1)])) for n, (host, _) in enumerate(hosts))


def _sslmode(parts: UrlParts) -> str | None:
    said = parts.option("sslmode") or parts.option("ssl")
    mode = None if said is None else _SSL_WORDS.get(said.lower(), said.lower())
    if mode is not None and mode not in _SSL_MODES:
        raise ValueError(f"sslmode must be one of {', '.join(_SSL_MODES)}")
    return mode


def _target(parts: UrlParts, *, several: bool) -> str:
    said = parts.option("target_session_attrs") or ("read-write" if several else "any")
    if said not in ("any", "read-write", "primary"):
        raise ValueError("target_session_attrs must be read-write, primary or any, because Rollcall writes")
    return said
