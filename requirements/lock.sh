#!/usr/bin/env bash
# Write the locks from pyproject.toml. What is locked stays, unless UPGRADE=1.
set -euo pipefail
cd "$(dirname "$0")/.."

uv=${UV:-.venv/bin/uv}
python=${PYTHON:-.venv/bin/python}

lock() {
    local lock=$1
    shift
    echo "locking $lock" >&2
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
        --no-emit-index-url --no-emit-find-links "$@" -o "$lock"
}

upgrade=${UPGRADE:+--upgrade}
lock requirements/tools.txt $upgrade --group tools
lock devstack/provision/go.txt $upgrade --group go
lock requirements/audit.txt $upgrade --group audit
lock requirements/runtime.txt $upgrade pyproject.toml --extra all
lock requirements/dev.txt $upgrade --group dev -c requirements/runtime.txt

# The images have neither the command line nor other versions than those that were tested.
for image in api:control agent:agent inference:inference; do
    "$python" requirements/extras.py "${image%:*}" |
        lock "deploy/requirements/${image#*:}.txt" --no-annotate -c requirements/runtime.txt -
done
