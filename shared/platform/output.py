"""Output for people, on a terminal that may not support all characters."""

import io
import sys


def never_refuse_text() -> None:
    """Make stdout and stderr write characters as escapes that they can't encode.

    With the locale C, or in a pipe on Windows, only ASCII works, and a name in Thai would end the process.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
