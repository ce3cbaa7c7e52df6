#!/usr/bin/env bash
# Install what only the tests need of Debian: libfaketime, for services whose clock is wrong; Prometheus and
# Alertmanager, which look at a stack.
set -euo pipefail

missing=()
compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || missing+=(libfaketime)
{ command -v prometheus && command -v promtool; } >/dev/null || missing+=(prometheus)
{ command -v alertmanager || command -v prometheus-alertmanager; } >/dev/null || missing+=(prometheus-alertmanager)
[ "${#missing[@]}" = 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
    echo "tests: please install ${missing[*]} with this machine's package manager, then try again" >&2
    exit 1
fi
sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo)

# The tests start their own: the packages' services are neither started now nor at the next boot.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap '"${sudo[@]}" rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
    "${sudo[@]}" chmod 755 "$policy"
fi

echo "tests: installing ${missing[*]} with apt-get" >&2
"${sudo[@]}" apt-get update -qq </dev/null >&2
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >&2
if [ -d /run/systemd/system ]; then
    for service in "${missing[@]}"; do
        "${sudo[@]}" systemctl disable "$service" >&2 2>/dev/null || true
    done
fi
