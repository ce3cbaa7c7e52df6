#!/usr/bin/env bash
# Write the locks from the .in files. What is locked stays, unless UPGRADE=1.
set -euo pipefail
cd "$(dirname "$0")"

uv=${UV:-../.venv/bin/uv}

lock() {
    local name=$1
    shift
    echo "locking $name" >&2
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
        --no-emit-index-url --no-emit-find-links ${UPGRADE:+--upgrade} "$@" "$name.in" -o "$name.txt"
}

lock tools
lock go
lock runtime
lock voice -c runtime.txt
lock dev -c runtime.txt -c voice.txt
lock audit
