"""An INSERT that can handle a row that already exists: SQLAlchemy has one for each kind of database."""

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import SQLModel


def insert_into(db: AsyncSession, table: type[SQLModel]) -> postgresql.Insert | sqlite.Insert:
    """Return the INSERT for this session's database, with `on_conflict_do_nothing` and `…_do_update`."""
    insert = postgresql.insert if is_on_postgres(db) else sqlite.insert
    return insert(table)


def is_on_postgres(db: AsyncSession) -> bool:
    """Return whether the session's database is PostgreSQL."""
    return db.get_bind().dialect.name == "postgresql"
