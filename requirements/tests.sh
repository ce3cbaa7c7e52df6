#!/usr/bin/env bash
# Install what only the tests need: of Debian, libfaketime, for services whose clock is wrong, Chromium and
# Node, Prometheus and Alertmanager, which look at a stack, and RabbitMQ, Celery's other broker; of npm,
# LiveKit's own JavaScript libraries, and what builds the console.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "tests: $*" >&2; }

missing=()
compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || missing+=(libfaketime)
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || missing+=(chromium)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
{ command -v prometheus && command -v promtool; } >/dev/null || missing+=(prometheus)
{ command -v alertmanager || command -v prometheus-alertmanager; } >/dev/null || missing+=(prometheus-alertmanager)
[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || missing+=(rabbitmq-server)
{ command -v pgbouncer || test -x /usr/sbin/pgbouncer; } >/dev/null || missing+=(pgbouncer)
if [ ${#missing[@]} -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
        say "please install ${missing[*]} with this machine's package manager, then try again"
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
    say "installing ${missing[*]} with apt-get"
    "${sudo[@]}" apt-get update -qq </dev/null >&2
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >&2
    if [ -d /run/systemd/system ]; then
        for service in "${missing[@]}"; do
            "${sudo[@]}" systemctl disable "$service" >&2 2>/dev/null || true
        done
    fi
fi

for folder in tests/js services/console; do
    if ! cmp -s "$folder/package-lock.json" "$folder/node_modules/.locked"; then
        say "installing the locked npm packages of $folder"
        (cd "$folder" && npm ci --silent --ignore-scripts </dev/null >&2 && cp package-lock.json node_modules/.locked)
    fi
done
