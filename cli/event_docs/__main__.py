"""Write docs/events.md, asyncapi.yaml and the catalogue in docs/logs.md anew."""

from cli.event_docs.asyncapi import asyncapi
from cli.event_docs.reference import reference
from cli.log_docs import reference as log_reference
from cli.services import REPOSITORY

WRITTEN = {"docs/events.md": reference, "asyncapi.yaml": asyncapi, "docs/logs.md": log_reference}


def main() -> None:
    """Write each of them."""
    for name, text in WRITTEN.items():
        (REPOSITORY / name).write_text(text())
        print(name)


if __name__ == "__main__":
    main()
