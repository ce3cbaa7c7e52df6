"""All dashboards, as Grafana's JSON."""

import json
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.conversation import conversation
from deploy.grafana.fleet import fleet
from deploy.grafana.pipeline import pipeline
from deploy.grafana.sessions import sessions

FOLDER: Final = Path(__file__).parent / "dashboards"
DASHBOARDS: Final[list[Dashboard]] = [sessions(), fleet(), conversation(), pipeline()]


def as_json(dashboard: Dashboard) -> str:
    """Return a dashboard's JSON file for Grafana."""
    return json.dumps(dashboard, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
