"""Keys are made, stored, accepted and revoked, on both databases."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from services.api.auth.access import Principal, Scope
from services.api.auth.key_format import Kind, hash_key, id_of, is_key, make_key
from services.api.auth.keyring import REMEMBERED_S, USE_NOTED_EVERY, Keyring
from services.api.errors.problems import Problem
from services.api.keys.__main__ import as_json, main
from services.api.keys.manage import NewKey, Refused, create_key, list_keys, revoke_key
from shared.core.api_keys.tables import ApiKeyRow
from shared.platform.database.database import Database
from tests.support.keys import ORIGIN, id_in, put_key
from tests.support.sessions import until
from tests.unit.making import FakeClock

pytestmark = pytest.mark.sql


@dataclass
class Ring:
    """A process's keyring, and the seconds of its clock."""

    keyring: Keyring
    seconds: float = 0.0

    async def who(self, headers: dict[str, str], origin: str | None = None) -> Principal:
        return await self.keyring.who(headers.get("Authorization"), origin)

    async def refusal(self, headers: dict[str, str], origin: str | None = None) -> str:
        with pytest.raises(Problem) as refused:
            await self.who(headers, origin)
        return refused.value.code


@pytest.fixture
def make_ring(database: Database, clock: FakeClock) -> Callable[[], Ring]:
    def make() -> Ring:
        ring: Ring
        ring = Ring(Keyring(database, now=clock, clock=lambda: ring.seconds))
        return ring

    return make


@pytest.fixture
def ring(make_ring: Callable[[], Ring]) -> Ring:
    return make_ring()


def test_a_key_is_one_word_with_a_prefix_that_scanners_know() -> None:
    made = make_key(Kind.SECRET)
    key = made.secret.get_secret_value()
    assert key.startswith("rollcall_sk_")
    assert make_key(Kind.PUBLISHABLE).secret.get_secret_value().startswith("rollcall_pk_")
    assert key.replace("_", "").isalnum()
    assert id_of(key) == made.id
    assert is_key(key, made.key_hash)
    assert not is_key(key[:-1] + ("a" if key[-1] != "a" else "b"), made.key_hash)
    assert key not in repr(made)
    assert len({make_key(Kind.SECRET).secret.get_secret_value() for _ in range(100)}) == 100


@pytest.mark.parametrize("other", ["", "rollcall_sk_", "sk_live_abc", " rollcall_sk_" + "a" * 56, "x" * 9999])
def test_what_is_no_key_has_no_id(other: str) -> None:
    assert id_of(other) is None


async def test_the_database_holds_no_key(database: Database, clock: FakeClock) -> None:
    secret, row = await create_key(database, NewKey(name="shop"), now=clock)
    key = secret.get_secret_value()
    async with database.read() as db:
        stored = str((await db.execute(text("SELECT * FROM api_key"))).all())
    assert row.id in stored
    assert hash_key(key) in stored
    assert key[-43:] not in stored
    assert key not in f"{row!r} {as_json(row)} {secret!r}"
    assert hash_key(key) not in f"{row!r} {as_json(row)}"


async def test_a_key_says_whose_it_is_and_what_it_may_do(ring: Ring, database: Database) -> None:
    headers = await put_key(database, Scope.SESSIONS_WRITE, project="acme")
    found = await ring.who(headers)
    assert (found.project, found.key_id, found.publishable) == ("acme", id_in(headers), False)
    assert found.scopes == {Scope.SESSIONS_WRITE, Scope.TOKENS_RESERVE}
    assert (await ring.who(await put_key(database, Scope.ADMIN))).scopes == set(Scope)


async def test_a_revoked_key_is_refused_by_every_replica_within_seconds(
    make_ring: Callable[[], Ring], database: Database, clock: FakeClock
) -> None:
    headers = await put_key(database, Scope.ADMIN)
    replicas = [make_ring(), make_ring()]
    for replica in replicas:
        await replica.who(headers)
    await revoke_key(database, id_in(headers), now=clock)
    for replica in replicas:
        replica.seconds += REMEMBERED_S
        assert await replica.refusal(headers) == "key_revoked"
    assert REMEMBERED_S <= 5


async def test_a_key_is_looked_up_once_in_a_while_and_not_for_each_request(
    ring: Ring, database: Database
) -> None:
    headers = await put_key(database, Scope.ADMIN)
    await ring.who(headers)
    async with database.write() as db:
        await db.execute(text("DELETE FROM api_key"))
    assert await ring.who(headers)
    ring.seconds += REMEMBERED_S
    assert await ring.refusal(headers) == "key_unknown"


async def test_a_key_is_refused_from_the_moment_at_which_it_expires(
    ring: Ring, database: Database, clock: FakeClock
) -> None:
    headers = await put_key(database, Scope.ADMIN, now=clock(), expires_in=timedelta(hours=1))
    clock.forward(minutes=59)
    await ring.who(headers)
    clock.forward(minutes=1)
    assert await ring.refusal(headers) == "key_expired", "though it is remembered as it was"


async def test_a_key_is_unknown_to_who_has_only_its_id(ring: Ring, database: Database) -> None:
    headers = await put_key(database, Scope.ADMIN, revoked=True)
    guessed = {"Authorization": headers["Authorization"][:-43] + "0" * 43}
    assert await ring.refusal(guessed) == "key_unknown", "he is not told that it was revoked"


async def test_when_a_key_was_used_is_noted_coarsely(
    ring: Ring, database: Database, clock: FakeClock
) -> None:
    headers = await put_key(database, Scope.ADMIN)

    async def noted() -> Any:
        async with database.read() as db:
            row = await db.get(ApiKeyRow, id_in(headers))
        assert row is not None
        return row.last_used_at

    assert await noted() is None
    await ring.who(headers)
    first = await until(noted, what="the use is noted")
    clock.forward(seconds=USE_NOTED_EVERY.total_seconds() - 1)
    await ring.who(headers)
    clock.forward(seconds=1)
    await ring.who(headers)

    async def later() -> bool:
        return bool(await noted() > first)

    await until(later, what="the later use is noted")
    assert await noted() == first + USE_NOTED_EVERY


async def test_without_a_database_nobody_is_let_in(ring: Ring, database: Database) -> None:
    headers = await put_key(database, Scope.ADMIN)
    async with database.write() as db:
        await db.execute(text("ALTER TABLE api_key RENAME TO hidden"))
    try:
        with pytest.raises(Exception, match="api_key"):
            await ring.who(headers)
    finally:
        async with database.write() as db:
            await db.execute(text("ALTER TABLE hidden RENAME TO api_key"))
    assert await ring.who(headers), "the failed look is not remembered"


async def test_a_publishable_key_can_do_no_more_than_reserve_whatever_its_row_says(
    ring: Ring, database: Database
) -> None:
    headers = await put_key(database, kind=Kind.PUBLISHABLE)
    async with database.write() as db:
        row = await db.get(ApiKeyRow, id_in(headers))
        assert row is not None
        row.scopes = ["admin", "a scope of a later version"]
    found = await ring.who(headers, ORIGIN)
    assert (found.scopes, found.publishable) == (frozenset({Scope.TOKENS_RESERVE}), True)


@pytest.mark.parametrize(
    "wish",
    [
        {"project": "ACME"},
        {"project": ""},
        {"project": "a/b"},
        {"project": "a" * 41},
        {"name": ""},
        {"name": "a\nb"},
        {"expires_in": timedelta(0)},
        {"origins": (ORIGIN,)},
        {"kind": Kind.PUBLISHABLE},
        {"kind": Kind.PUBLISHABLE, "origins": (f"{ORIGIN}/path",)},
        {"kind": Kind.PUBLISHABLE, "origins": ("shop.example.com",)},
        {"kind": Kind.PUBLISHABLE, "origins": ("*",)},
        {"kind": Kind.PUBLISHABLE, "origins": ("file://x",)},
        {"kind": Kind.PUBLISHABLE, "origins": (ORIGIN,), "scopes": (Scope.SESSIONS_READ,)},
    ],
)
async def test_a_key_that_makes_no_sense_is_not_made(
    database: Database, clock: FakeClock, wish: dict[str, Any]
) -> None:
    with pytest.raises(Refused):
        await create_key(database, NewKey(**{"name": "shop", **wish}), now=clock)
    assert await list_keys(database) == []


async def test_the_program_makes_lists_and_revokes(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)

    async def run(*arguments: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(main, arguments)
        out, err = capsys.readouterr()
        return code, out, err

    code, out, _ = await run("create", "--name=shop", "--project=acme", "--scope=sessions:read")
    made = json.loads(out)
    assert (code, made["project"], made["scopes"]) == (0, "acme", ["sessions:read"])
    assert made["id"] == id_of(made["key"])
    _, out, _ = await run("create", "--name=web", "--publishable", f"--origin={ORIGIN}")
    assert json.loads(out)["scopes"] == ["tokens:reserve"]
    _, out, _ = await run("list")
    listed = json.loads(out)["keys"]
    assert [key["name"] for key in listed] == ["shop", "web"]
    assert made["key"] not in out
    assert json.loads((await run("list", "--project=acme"))[1])["keys"] == listed[:1]
    assert json.loads((await run("revoke", made["id"]))[1])["revoked_at"]
    first = json.loads((await run("revoke", made["key"]))[1])["revoked_at"]
    assert json.loads((await run("revoke", made["id"]))[1])["revoked_at"] == first
    code, out, err = await run("revoke", "nobody")
    assert (code, out, err) == (1, "", "there is no key with this id\n")
    async with database.write() as db:
        await db.execute(text("ALTER TABLE api_key RENAME TO hidden"))
    try:
        code, _, err = await run("list")
    finally:
        async with database.write() as db:
            await db.execute(text("ALTER TABLE hidden RENAME TO api_key"))
    assert code == 1
    assert "shared.core.migrate" in err
