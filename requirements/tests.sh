#!/usr/bin/env bash
# Install what only the tests need of Debian: libfaketime, for services whose clock is wrong.
set -euo pipefail

compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null && exit 0
if ! command -v apt-get >/dev/null; then
    echo "tests: please install libfaketime with this machine's package manager, then try again" >&2
    exit 1
fi
sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo)
echo "tests: installing libfaketime with apt-get" >&2
"${sudo[@]}" apt-get update -qq </dev/null >&2
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends libfaketime </dev/null >&2
