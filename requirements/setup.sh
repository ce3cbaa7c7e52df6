#!/usr/bin/env bash
# Make .venv from the hashed locks, and install what only Debian supplies. Instant when nothing changed.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\033[36m%s\033[0m\n' "setup: $*" >&2; }
fail() { printf '\033[31m%s\033[0m\n' "setup: $*" >&2; exit 1; }

apt_install() {
    command -v apt-get >/dev/null || fail "please install $* with this machine's package manager, then try again"
    local sudo=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || fail "please run as root: apt-get install -y $*"
        sudo=(sudo)
    fi
    say "installing $* with apt-get"
    "${sudo[@]}" apt-get update -qq </dev/null >&2
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" </dev/null >&2
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
        [ -n "$candidate" ] || continue
        # Asked, not looked up: a version manager's shim can be on PATH for a version that isn't there.
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "Python 3.11 or later is needed; install it, or say PYTHON=/path/to/python3"
}

# Two runs at once must not build the same environment.
mkdir -p .rollcall
if command -v flock >/dev/null; then
    exec 9>.rollcall/setup.lock
    flock 9
fi

command -v flite >/dev/null || apt_install flite # the voice of the synthetic caller

stamp=.venv/locked-$({ pwd; cat requirements/*.txt requirements/setup.sh pyproject.toml rollcall-agent/pyproject.toml; } | cksum | tr -d ' ')
if [ -e "$stamp" ] && .venv/bin/python -c '' 2>/dev/null; then
    exit 0
fi

started=$SECONDS
if ! .venv/bin/python -c "import sys; sys.exit(sys.prefix != '$(pwd -P)/.venv')" 2>/dev/null || [ ! -x .venv/bin/uv ]; then
    python=$(find_python)
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        apt_install python3-venv
        "$python" -c 'import ensurepip, venv' ||
            fail "$python can't make virtual environments; say PYTHON=/path/to/another"
    fi
    say "making .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes \
        -r requirements/tools.txt
fi

say "installing the locked packages (about 400 MB the first time)"
.venv/bin/uv pip sync --color never --python .venv/bin/python --require-hashes \
    requirements/tools.txt requirements/runtime.txt requirements/dev.txt \
    2>&1 | sed '/^ [-+~] /d' >&2
# .pth files to this checkout and the library in it, and .venv/bin/rollcall; all that they need is installed.
.venv/bin/uv pip install --python .venv/bin/python --quiet --no-deps --no-build-isolation --offline \
    --config-settings editable_mode=compat --editable . --editable ./rollcall-agent

rm -f .venv/locked-*
touch "$stamp"
say "ready after $((SECONDS - started)) s"
