"""Usual URLs of servers: all clients accept them, or the process refuses to start with the reason."""

import pytest
from pydantic import ValidationError

from shared.contracts.database_url import read_postgres_url
from shared.contracts.redis_url import read_redis_url
from shared.contracts.settings import BrokerSettings, DatabaseSettings, RedisSettings, Settings


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgres://u:p@h/d", [("h", 5432)]),
        ("postgresql+asyncpg://u:p@h:6/d", [("h", 6)]),
        ("postgresql://u:p@a,b:7,[::1]:8/d", [("a", 5432), ("b", 7), ("::1", 8)]),
        ("postgresql:///d", []),
        ("postgresql:///d?host=/run/postgresql", [("/run/postgresql", 5432)]),
        ("postgresql://%2Frun%2Fpostgresql:7/d", [("/run/postgresql", 7)]),
        ("postgresql:///d?host=a:1&host=b:2", [("a", 1), ("b", 2)]),
        ("postgresql:///d?host=a,b&port=1,2", [("a", 1), ("b", 2)]),
        ("postgresql:///d?host=a,b&port=9", [("a", 9), ("b", 9)]),
    ],
)
def test_the_hosts_of_a_database(url: str, hosts: list[tuple[str, int]]) -> None:
    assert list(read_postgres_url(url).hosts) == hosts


@pytest.mark.parametrize("password", ["p@ss", "a/b", "a?b#c", "a:b", "a%2Fb@c", "päss"])
def test_a_password_that_nobody_has_escaped_is_one(password: str) -> None:
    for url in (f"postgresql://u:{password}@h:1/d?sslmode=require", f"redis://u:{password}@h:1/2"):
        found = read_postgres_url(url) if url.startswith("p") else read_redis_url(url)
        assert found.password == password.replace("%2F", "/")
        assert password not in repr(found)


def test_a_databases_options_have_their_meaning() -> None:
    url = (
        "postgresql://u@h/d?sslmode=verify-full&sslrootcert=/ca.pem&connect_timeout=3&application_name=a%20b"
        "&target_session_attrs=primary&options=-c%20x%3D1&keepalives=1&channel_binding=prefer&pgbouncer=true"
    )
    found = read_postgres_url(url)
    assert (found.sslmode, found.sslrootcert, found.connect_timeout_s) == ("verify-full", "/ca.pem", 3)
    assert found.server_settings == {"application_name": "a b", "options": "-c x=1"}
    assert (found.target_session_attrs, found.pooled) == ("primary", True)
    assert read_postgres_url("postgresql://h/d?ssl=true").sslmode == "require"
    assert read_postgres_url("postgresql://a,b/d").target_session_attrs == "read-write"
    assert read_postgres_url("postgresql://a/d?connect_timeout=0").connect_timeout_s is None


def test_tls_is_verified_unless_a_url_says_otherwise() -> None:
    plain, secure = read_redis_url("redis://h").tls, read_redis_url("rediss://h").tls
    assert plain is None
    assert secure is not None
    assert (secure.verify, secure.check_hostname, secure.ca_certs) == (True, True, None)
    open_to_all = read_redis_url("rediss://h?ssl_cert_reqs=none").tls
    assert open_to_all is not None
    assert (open_to_all.verify, open_to_all.check_hostname) == (False, False)


REFUSED: list[tuple[type[Settings], str, str, str]] = [
    (DatabaseSettings, "DATABASE_URL", "mysql://h/d", "must start with"),
    (DatabaseSettings, "DATABASE_URL", "postgresql://h:port/d", "port"),
    (DatabaseSettings, "DATABASE_URL", "postgresql://h/d?sslmode=no-verify", "sslmode must be one of"),
    (DatabaseSettings, "DATABASE_URL", "postgresql://h/d?connect_timeout=soon", "connect_timeout"),
    (DatabaseSettings, "DATABASE_URL", "postgresql://a,b/d?target_session_attrs=standby", "Rollcall writes"),
    (DatabaseSettings, "DATABASE_URL", "postgresql://h/d?channel_binding=require", "channel_binding"),
    (DatabaseSettings, "DATABASE_URL", "postgresql://h/d?schema=public", "unknown option schema"),
    (DatabaseSettings, "DATABASE_URL", "postgresql://h/d?pgbouncer=maybe", "pgbouncer"),
    (RedisSettings, "REDIS_URL", "redis://", "names no host"),
    (RedisSettings, "REDIS_URL", "redis://h1,h2:6379/0", "several servers"),
    (RedisSettings, "REDIS_URL", "redis://h1:6379,h2:6379", "several servers"),
    (RedisSettings, "REDIS_URL", "redis-cluster://h", "Redis Cluster"),
    (RedisSettings, "REDIS_URL", "redis+sentinel://h:26379/mymaster", "Sentinel"),
    (RedisSettings, "REDIS_URL", "sentinel://a:26379;sentinel://b:26379", "Sentinel"),
    (RedisSettings, "REDIS_URL", "redis://h/name", "database"),
    (RedisSettings, "REDIS_URL", "redis://h:0/0", "port"),
    (RedisSettings, "REDIS_URL", "redis://h/0?socket_timeout=0.2", "socket_timeout must be at least"),
    (RedisSettings, "REDIS_URL", "redis://h/0?decode_responses=false", "unknown option"),
    (RedisSettings, "REDIS_URL", "redis://h/0?ssl_cert_reqs=none", "unknown option"),
    (RedisSettings, "REDIS_URL", "rediss://h/0?ssl_cert_reqs=optional", "ssl_cert_reqs"),
    (RedisSettings, "REDIS_URL", "unix://run/redis.sock", "three slashes"),
    (RedisSettings, "REDIS_URL", "http://h", "must start with"),
    (BrokerSettings, "BROKER_URL", "sqs://", "must start with"),
    (BrokerSettings, "BROKER_URL", "rabbit:5672", "must start with"),
    (BrokerSettings, "BROKER_URL", "amqp://", "host"),
    (BrokerSettings, "BROKER_URL", "amqp://a,b//", "must name one host"),
    (BrokerSettings, "BROKER_URL", "amqp://a//;redis://b", "another kind"),
    (BrokerSettings, "BROKER_URL", "amqp://a//?heartbeat=3", "unknown option"),
    (BrokerSettings, "BROKER_URL", "redis://h1,h2", "several servers"),
    (BrokerSettings, "BROKER_URL", "sentinel://h:26379", "Sentinel"),
]


@pytest.mark.parametrize(("settings", "name", "url", "reason"), REFUSED)
def test_what_not_every_client_takes_is_refused_with_the_reason(
    settings: type[Settings], name: str, url: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, url)
    with pytest.raises(ValidationError, match=reason):
        settings()


@pytest.mark.parametrize(
    "url",
    [
        "amqp://u:p@h//",
        "amqps://u:p@h/vhost?ssl_ca_certs=/ca.pem",
        "amqp://a//;amqp://b:5673//",
        "pyamqp://h",
        "redis://h",
        "unix:///run/redis.sock",
    ],
)
def test_brokers_that_are_taken(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_URL", url)
    assert BrokerSettings().celery_broker_url == url
