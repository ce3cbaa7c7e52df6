"""Write the dashboards' JSON and docs/metrics.md from the code."""

from deploy.grafana.catalogue import CATALOGUE, as_markdown, read_catalogue
from deploy.grafana.generate import DASHBOARDS, FOLDER, as_json


def main() -> None:
    """Write the files."""
    CATALOGUE.write_text(as_markdown(read_catalogue()))
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.uid}.json").write_text(as_json(dashboard))


if __name__ == "__main__":
    main()
