#!/bin/sh
# Have what the tests of the page drive: Debian's chromium, which needs so many libraries that it is installed, which
# takes root, and axe-core in $1/axe, which looks for what keeps people out. Where one cannot be had this says so and
# goes on; the tests that need it are skipped.
set -eu
tools=$1
if ! command -v chromium >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "tools: installing the package chromium"
        apt-get update -qq >/dev/null 2>&1 || true
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null 2>&1 ||
            echo "tools: the package chromium could not be installed; tests that need it are skipped" >&2
    else
        echo "tools: no chromium; install the package chromium to run the tests of the page" >&2
    fi
fi
[ -e "$tools/axe/axe.min.js" ] && exit 0
command -v npm >/dev/null || { echo "tools: no npm; the test that needs axe-core is skipped" >&2; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if (cd "$work" && npm pack --silent axe-core@4 >/dev/null 2>&1 && tar xzf axe-core-*.tgz); then
    mkdir -p "$tools/axe"
    cp "$work/package/LICENSE" "$work/package/axe.min.js" "$tools/axe/"
else
    echo "tools: axe-core could not be fetched; the test that needs it is skipped" >&2
fi
