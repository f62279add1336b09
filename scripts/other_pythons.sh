#!/bin/sh
# Run tests on every Python that rondo promises but the one given; one that this machine lacks is skipped by name.
#   scripts/other_pythons.sh PYTHON TESTS ...
set -eu
own=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
shift
found=$(sh scripts/pythons.sh)
for version in $(sed -n 's/.*Python :: \(3\.[0-9]*\)".*/\1/p' pyproject.toml); do
    [ "$version" = "$own" ] && continue
    python=
    for each in $found; do
        [ "$("$each" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" = "$version" ] && python=$each
    done
    if [ -z "$python" ]; then
        echo "test-systems: no Python $version here; skipped"
        continue
    fi
    log=$(mktemp)
    make -s PYTHON="$python" ".venv-$version/.tested" >"$log" 2>&1 || { cat "$log" >&2; rm -f "$log"; exit 1; }
    # Its own cache of compiled tests, and none of pytest's: two Pythons may run beside each other.
    ".venv-$version/bin/python" -m pytest -q -p no:cacheprovider "$@" >"$log" 2>&1 || { cat "$log" >&2; rm -f "$log"; exit 1; }
    echo "test-systems: Python $version: $(tail -n 1 "$log")"
    rm -f "$log"
done
