#!/usr/bin/env bash
# What only the tests need of Debian: libfaketime, for services whose clock is wrong, which is installed; and
# Prometheus and Alertmanager, of which only the programs are taken out of their packages. To install those
# would start both as services.
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/rollcall
sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo)
updated=

need_apt() {
    if ! command -v apt-get >/dev/null; then
        echo "tests: please install $1 with this machine's package manager, then try again" >&2
        exit 1
    fi
    [ -n "$updated" ] || "${sudo[@]}" apt-get update -qq </dev/null >&2
    updated=yes
}

have() {
    command -v "$1" >/dev/null || [ -x "$cache/prometheus/usr/bin/$1" ]
}

if ! compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null; then
    need_apt libfaketime
    echo "tests: installing libfaketime with apt-get" >&2
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends libfaketime </dev/null >&2
fi

if ! { have prometheus && have promtool && { have alertmanager || have prometheus-alertmanager; }; }; then
    need_apt "prometheus, promtool and alertmanager"
    echo "tests: fetching prometheus and prometheus-alertmanager with apt-get" >&2
    packages=$(mktemp -d)
    trap 'rm -rf "$packages"' EXIT
    (cd "$packages" && apt-get download -qq prometheus prometheus-alertmanager </dev/null >&2)
    mkdir -p "$cache/prometheus"
    for package in "$packages"/*.deb; do
        dpkg-deb --extract "$package" "$cache/prometheus"
    done
fi
