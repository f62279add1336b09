#!/bin/sh
# Have what the tests of the page drive: Debian's chromium, which needs so many libraries that it is installed, which
# takes root, axe-core in $1/axe, which looks for what keeps people out, and mermaid in $1/mermaid, which draws the charts
# of Markdown. Where one cannot be had this says so and goes on; the tests that need it are skipped.
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
# Fetch one package of npm, and keep its licence and one file of it: of a package, its version and the file's place.
fetch() {
    name=$1 version=$2 file=$3 into=$4
    [ -e "$tools/$into/$(basename "$file")" ] && return
    command -v npm >/dev/null || { echo "tools: no npm; the tests that need $name are skipped" >&2; return; }
    work=$(mktemp -d)
    if (cd "$work" && npm pack --silent "$name@$version" >/dev/null 2>&1 && tar xzf "$name"-*.tgz); then
        mkdir -p "$tools/$into"
        cp "$work/package/LICENSE" "$work/package/$file" "$tools/$into/"
    else
        echo "tools: $name could not be fetched; the tests that need it are skipped" >&2
    fi
    rm -rf "$work"
}
fetch axe-core 4 axe.min.js axe
fetch mermaid 11 dist/mermaid.min.js mermaid
