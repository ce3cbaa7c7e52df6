"""The format of API keys: how they are made, recognised and compared.

A key is `rollcall_sk_` (secret) or `rollcall_pk_` (publishable), the twelve characters of its public id, `_`,
and 43 characters that nobody can guess. A double click selects the whole key, and a scanner for secrets finds
it with one pattern.
"""

import hashlib
import hmac
import re
import secrets
import string
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydantic import SecretStr

_ALPHABET: Final = string.ascii_letters + string.digits
_ID_LENGTH: Final = 12
_SECRET_LENGTH: Final = 43  # each one of 62 characters: 256 bits
_KEY: Final = re.compile(rf"rollcall_(sk|pk)_([A-Za-z0-9]{{{_ID_LENGTH}}})_[A-Za-z0-9]{{{_SECRET_LENGTH}}}")


class Kind(StrEnum):
    """Whether a key is secret, or part of a web page."""

    SECRET = "secret"  # noqa: S105
    PUBLISHABLE = "publishable"


_MARKS: Final = {Kind.SECRET: "sk", Kind.PUBLISHABLE: "pk"}


@dataclass(frozen=True)
class NewKey:
    """A new key. `secret` is the whole key and is shown once; `key_hash` is stored."""

    id: str
    secret: SecretStr
    key_hash: str


def make_key(kind: Kind) -> NewKey:
    """Make a new random key."""
    key_id, unknown = _random(_ID_LENGTH), _random(_SECRET_LENGTH)
    key = f"rollcall_{_MARKS[kind]}_{key_id}_{unknown}"
    return NewKey(key_id, SecretStr(key), hash_key(key))


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def id_of(key: str) -> str | None:
    """Return the public id in a key; None if the text is not a key."""
    found = _KEY.fullmatch(key)
    return found[2] if found else None


def hash_key(key: str) -> str:
    """Return the hash that is stored. A key is random, so a slow hash would protect nothing more."""
    return hashlib.sha256(key.encode()).hexdigest()


def is_key(key: str, key_hash: str) -> bool:
    """Return whether the hash is this key's, in constant time."""
    return hmac.compare_digest(hash_key(key), key_hash)
