#!/bin/sh
# Make the virtual environment $1 with rondo and its exporters; further words are passed to pip.
set -eu
venv=$1
shift
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "venv: $python is missing or older than 3.11; set PYTHON to a newer one" >&2
    exit 1
}
if [ ! -x "$venv/bin/pip" ]; then
    rm -rf "$venv"
    if ! "$python" -m venv "$venv" >/dev/null 2>&1; then
        rm -rf "$venv"
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            echo "venv: installing the system package python3-venv"
            (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv) >/dev/null 2>&1
        else
            echo "venv: $python has no venv; install the package python3-venv" >&2
            exit 1
        fi
        "$python" -m venv "$venv"
    fi
fi
pip() {
    "$venv/bin/python" -m pip "$@" --quiet --disable-pip-version-check 2>"$venv/pip.log" || {
        cat "$venv/pip.log" >&2
        exit 1
    }
}
echo "venv: installing rondo and its exporters into $venv${1:+, and what checks and tests need}"
pip install --upgrade 'pip>=25.1'
for project in rondo_exporters/*/; do
    set -- -e "$project" "$@"
done
pip install -e '.[emulator,qemu,web]' "$@"
