"""Print what an extra of pyproject.toml requires, one requirement a line: `extras.py NAME…`.

It leaves out the package's own dependencies, which uv would add: only the command line needs them.
"""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parents[1] / "pyproject.toml"
_OTHER_EXTRAS: Final = re.compile(r"rollcall\[([\w,]+)\]")


def requirements(extras: Mapping[str, Sequence[str]], names: Sequence[str]) -> Iterator[str]:
    """Yield the requirements of these extras, and of the extras that they include. Raises `KeyError`."""
    for name in names:
        for requirement in extras[name]:
            others = _OTHER_EXTRAS.fullmatch(requirement)
            if others:
                yield from requirements(extras, others[1].split(","))
            else:
                yield requirement


if __name__ == "__main__":
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    print("\n".join(requirements(project["optional-dependencies"], sys.argv[1:])))
