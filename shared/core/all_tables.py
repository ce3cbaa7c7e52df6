"""Every table of the database, for migrations and for comparing a database with the code."""

from typing import Final

from sqlmodel import SQLModel

import shared.core.api_keys.tables
import shared.core.audit.tables
import shared.core.livekit.tables
import shared.core.pools.tables
import shared.core.profiles.tables
import shared.core.sessions.tables
import shared.core.transcripts.tables
import shared.core.webhooks.tables
import shared.platform.lease  # noqa: F401  # SQLModel knows the tables of the modules that are imported

METADATA: Final = SQLModel.metadata
