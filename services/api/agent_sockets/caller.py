"""Who opens a socket: a worker by an API key or a token, or a job by the credential of its attempt."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from fastapi import WebSocket

from services.api.auth.access import Scope, key_missing
from services.api.auth.key_format import id_of
from services.api.auth.networks import network_of
from services.api.deps import Services
from services.api.errors.problems import Problem
from services.api.settings import ApiSettings
from shared.contracts.identifiers import SessionId, new_id
from shared.core.workers.credentials import CredentialRefused, KeyPair

WORKER_HEADER: Final = "x-rollcall-worker"
# A worker speaks of its running jobs, and of those whose turns are still on its disk.
MOST_ATTEMPTS: Final = 10_000
# A job has one socket, and a second one while the first is not known to be dead yet.
MOST_SOCKETS_JOB: Final = 4
MOST_SOCKETS_WORKER: Final = 1000

Attempt = tuple[SessionId, int]


@dataclass
class Caller:
    """The client of one socket. `owner` names it in limits and as the owner of its workers' ids.

    `has_key`: it showed an API key, which may be revoked while the socket is open.
    `attempts` are those that it may speak of. `worker_id` is the worker of a job, as the job says.
    """

    owner: str
    is_worker: bool
    has_key: bool = False
    attempts: dict[Attempt, None] = field(default_factory=dict)
    worker_id: str | None = None
    connection: str = field(default_factory=new_id)

    @property
    def most_sockets(self) -> int:
        """How many sockets its owner may have open at once."""
        return MOST_SOCKETS_WORKER if self.is_worker else MOST_SOCKETS_JOB

    def present(self, attempt: Attempt) -> None:
        """Let the client speak of an attempt from now on; of the oldest ones of too many no longer."""
        self.attempts.pop(attempt, None)
        self.attempts[attempt] = None
        if len(self.attempts) > MOST_ATTEMPTS:
            del self.attempts[next(iter(self.attempts))]


def key_pair(settings: ApiSettings) -> KeyPair:
    """The key pair that signs what workers and jobs prove themselves with."""
    return KeyPair(settings.livekit_api_key, settings.livekit_api_secret)


async def who_is_worker(socket: WebSocket, services: Services) -> Caller:
    """Return the worker that opens this socket. Raises `Problem`, or one of `DATABASE_ERRORS`."""
    token = bearer_of(socket)
    with _bad_keys_counted(socket, services):
        if id_of(token) is None:
            pair = key_pair(services.settings)
            pair.check_worker(token)
            return Caller(owner=f"livekit:{pair.key}", is_worker=True)
        principal = await services.keyring.who(socket.headers["authorization"], None)
    if Scope.AGENT not in principal.scopes:
        detail = f"a worker needs a key with the scope {Scope.AGENT}"
        raise Problem(403, "scope_missing", detail, missing_scope=Scope.AGENT)
    return Caller(owner=f"key:{principal.key_id}", is_worker=True, has_key=True)


async def who_is_job(socket: WebSocket, services: Services) -> Caller:
    """Return the job that opens this socket. Raises `Problem`."""
    with _bad_keys_counted(socket, services):
        session_id, attempt = key_pair(services.settings).read_attempt(bearer_of(socket))
    caller = Caller(owner=f"attempt:{session_id}:{attempt}", is_worker=False)
    caller.worker_id = socket.headers.get(WORKER_HEADER)
    caller.present((session_id, attempt))
    return caller


def bearer_of(socket: WebSocket) -> str:
    """Return the key or credential of the handshake. Raises `Problem`."""
    scheme, _, token = socket.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise key_missing()
    return token.strip()


@contextmanager
def _bad_keys_counted(socket: WebSocket, services: Services) -> Iterator[None]:
    """Count what is refused inside as a bad key of the client's network. Raises `Problem`."""
    network = network_of(socket.client.host if socket.client else "")
    known = services.keyring.has_taken(socket.headers.get("authorization"))
    if services.bad_keys.too_many(network) and not known:
        raise services.bad_keys.refuse(network)
    try:
        yield
    except CredentialRefused as refused:
        services.bad_keys.count_bad_key(network)
        raise Problem(401, "credential_invalid", str(refused)) from refused
    except Problem:
        services.bad_keys.count_bad_key(network)
        raise
