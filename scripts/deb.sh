#!/bin/sh
# Have the program $3 of the Debian package $2: from the system, or unpacked into $1 without installing anything.
# Where neither can be had it says so and goes on; the tests that need it are skipped and name the package.
set -eu
tools=$1 package=$2 program=$3
[ -x "$program" ] || [ -x "$tools$program" ] || command -v "$(basename "$program")" >/dev/null && exit 0
if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
    echo "tools: no apt here; install $package yourself to run the tests that need it" >&2
    exit 0
fi
echo "tools: fetching the package $package"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ "$(id -u)" = 0 ]; then
    apt-get update -qq >/dev/null 2>&1 || true
    chmod 755 "$work"
fi
if (cd "$work" && apt-get download -q "$package" >/dev/null 2>&1); then
    mkdir -p "$tools"
    dpkg -x "$work"/*.deb "$tools"
else
    echo "tools: the package $package could not be fetched; tests that need it are skipped" >&2
fi
