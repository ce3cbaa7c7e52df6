"""Health check of the images: `python3 -IS healthy.py PORT_VARIABLE PATH`; exit code 0 after a 200.

The port is that of the variable, or else of PORT.

It runs every few seconds in every container, so it imports next to nothing.
"""

import os
import socket
import sys

TIMEOUT_S = 2.5


def status_line(port: int, path: str) -> bytes:
    """Return the first line of the answer; raises OSError if there is none."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        with connection.makefile("rb") as answer:
            return answer.readline()


def main() -> int:
    """Return the exit code."""
    variable, path = sys.argv[1:]
    try:
        line = status_line(int(os.environ.get(variable) or os.environ["PORT"]), path)  # noqa: TID251
    except OSError as failure:
        sys.stderr.write(f"{path}: {failure}\n")
        return 1
    sys.stdout.write(line.decode(errors="replace"))
    return 0 if line.split()[1:2] == [b"200"] else 1


if __name__ == "__main__":
    sys.exit(main())
