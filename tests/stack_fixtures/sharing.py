"""Which tests stay in one process of xdist, because they share a stack that takes long to start."""

from typing import Final

from xdist.scheduler import LoadFileScheduling

# Beginnings of paths whose tests use the same stack. Elsewhere, a file is what stays together.
ONE_STACK: Final = {
    "the whole stack": ("tests/e2e/",),
    "the observed stack": ("tests/observability/",),
    "control_plane": tuple(
        f"tests/faults/test_{name}.py"
        for name in ("causes_control", "causes_inference", "celery", "healthy", "queue")
    ),
    "agent_stack": tuple(
        f"tests/faults/test_{name}.py" for name in ("api_way", "causes_agent", "pools", "revive")
    ),
    "doubled": tuple(f"tests/faults/test_{name}.py" for name in ("collect", "one_agent")),
    "inference": tuple(
        f"tests/integration/inference/test_{name}_wire.py" for name in ("inference", "language_model")
    ),
    "placing": tuple(f"tests/faults/test_{name}.py" for name in ("addresses", "placement")),
}


class ByStack(LoadFileScheduling):  # type: ignore[misc]
    """`--dist loadfile`, with the files that share a stack in place of one file."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def scope_of(test_id: str) -> str:
    """The stack or file whose tests run in the same process as this one."""
    file = test_id.split("::", 1)[0]
    return next((stack for stack, paths in ONE_STACK.items() if file.startswith(paths)), file)
