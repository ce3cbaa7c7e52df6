"""Write docs/events.md, asyncapi.yaml, the catalogue in docs/logs.md and the packages in ARCHITECTURE.md."""

from devstack.services import REPOSITORY
from tools.event_docs.asyncapi import asyncapi
from tools.event_docs.reference import reference
from tools.log_docs import reference as log_reference
from tools.package_map import reference as package_map

WRITTEN = {
    "docs/events.md": reference,
    "asyncapi.yaml": asyncapi,
    "docs/logs.md": log_reference,
    "ARCHITECTURE.md": package_map,
}


def main() -> None:
    """Write each of them."""
    for name, text in WRITTEN.items():
        (REPOSITORY / name).write_text(text())
        print(name)


if __name__ == "__main__":
    main()
