"""What a process writes for people, on a terminal that may not have their letters."""

import io
import sys


def never_refuse_text() -> None:
    """Have characters that stdout and stderr can't show written as escapes.

    A locale such as C or a pipe of Windows has ASCII only, and a name in Thai would end the process.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
