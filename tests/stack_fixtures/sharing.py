"""Which tests stay in one process of xdist, because they share a stack that takes long to start."""

from typing import Final

from xdist.scheduler import LoadFileScheduling

# Nearly all files of such a folder use the same stack. Elsewhere, a file is what stays together.
ONE_STACK: Final = ("tests/e2e/", "tests/observability/")


class ByStack(LoadFileScheduling):  # type: ignore[misc]
    """`--dist loadfile`, with these folders in place of their files."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def scope_of(test_id: str) -> str:
    """The folder or file whose tests run in the same process as this one."""
    file = test_id.split("::", 1)[0]
    return next((folder for folder in ONE_STACK if file.startswith(folder)), file)
