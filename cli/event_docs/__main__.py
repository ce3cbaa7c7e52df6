"""Write docs/events.md and asyncapi.yaml anew."""

from cli.event_docs.asyncapi import asyncapi
from cli.event_docs.reference import reference
from cli.services import REPOSITORY

WRITTEN = {"docs/events.md": reference, "asyncapi.yaml": asyncapi}


def main() -> None:
    """Write each of them."""
    for name, text in WRITTEN.items():
        (REPOSITORY / name).write_text(text())
        print(name)


if __name__ == "__main__":
    main()
