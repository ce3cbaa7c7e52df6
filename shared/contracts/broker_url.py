"""Read BROKER_URL: one or several nodes of RabbitMQ, or one Redis."""

from typing import Final

from shared.contracts.redis_url import REDIS_SCHEMES, Tls, read_redis_url, tls_of
from shared.contracts.url_parts import UrlParts, take_apart

AMQP_SCHEMES: Final = ("amqp", "amqps", "pyamqp")
_OPTIONS: Final = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")


def is_amqp(url: str) -> bool:
    """Whether the broker is a RabbitMQ."""
    return url.partition("://")[0].lower() in AMQP_SCHEMES


def check_broker_url(url: str) -> str:
    """Return the URL unchanged; raises `ValueError` with a reason that contains no secret."""
    if is_amqp(url):
        read_amqp_url(url)
    elif url.partition("://")[0].lower() in REDIS_SCHEMES:
        read_redis_url(url)
    elif "sentinel" in url.partition("://")[0].lower():
        read_redis_url(url)  # raises with the reason
    else:
        schemes = ", ".join(f"{scheme}://" for scheme in (*AMQP_SCHEMES, *REDIS_SCHEMES))
        raise ValueError(f"must start with one of {schemes}")
    return url


def read_amqp_url(url: str) -> tuple[UrlParts, Tls | None]:
    """Return the parts of the first node, and the TLS settings of all nodes; raises `ValueError`."""
    nodes = [_read_node(node) for node in url.split(";")]
    if len({node.scheme for node in nodes}) > 1:
        raise ValueError("mixes nodes with TLS and nodes without; use one of the two for all")
    first = nodes[0]
    return first, tls_of(first) if first.scheme == "amqps" else None


def without_options(url: str) -> str:
    """Return the URL for kombu, without its options; those go into Celery's configuration."""
    return ";".join(node.partition("?")[0] for node in url.split(";"))


def _read_node(url: str) -> UrlParts:
    parts = take_apart(url, default_port=5671 if url.lower().startswith("amqps") else 5672)
    if parts.scheme not in AMQP_SCHEMES:
        raise ValueError(f"names a node of another kind than {', '.join(s + '://' for s in AMQP_SCHEMES)}")
    if len(parts.hosts) != 1 or not parts.hosts[0][0]:
        raise ValueError("must name one host; several nodes are written amqp://a//;amqp://b//")
    parts.check_options(_OPTIONS if parts.scheme == "amqps" else ())
    return parts
