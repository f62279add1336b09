#!/bin/sh
# Build the wheels, install them into an empty environment, and use what they brought: a flat layout hides missing files.
#   scripts/wheels.sh PYTHON
set -eu
python=$1
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip() { "$work/venv/bin/python" -m pip --quiet --disable-pip-version-check "$@" 2>"$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }; }

"$python" -m venv "$work/venv"
pip wheel --no-deps --wheel-dir "$work/wheels" "$here" "$here"/rondo_exporters/*/
pip install "$work"/wheels/rondo-[0-9]*.whl unicorn
cd "$work"
rondo=$work/venv/bin/rondo
$rondo --version
$rondo vmm --store vm.rondo --duration 1 >/dev/null 2>"$work/vmm.log" || { cat "$work/vmm.log" >&2; exit 1; }
$rondo query vm.rondo vmm_uptime_seconds | tail -n 1
$rondo bench tick --repeat 1 | tail -n 1
for project in "$here"/rondo_exporters/*/; do
    name=$(basename "$project")
    wheel=$(echo "$work/wheels/rondo_exporter_$name"-*.whl)
    version=$(basename "$wheel" | cut -d- -f2)
    listed() { $rondo plugins | grep "rondo-exporter-$name"; }
    listed && { echo "wheels: $name without its wheel" >&2; exit 1; }
    pip install --find-links "$work/wheels" "$wheel"
    listed | grep -E " $version +ok\$" || { echo "wheels: $name: not listed as $version, ok" >&2; exit 1; }
    $rondo plugins "$name" >/dev/null
    pip uninstall --yes "rondo-exporter-$name"
    listed && { echo "wheels: $name is listed without its wheel" >&2; exit 1; }
    $rondo export vm.rondo --to csv 2>&1 >"$work/$name.csv" | grep -q "samples sent"
    rm -f vm.rondo/cursor_csv.json
done
$rondo info vm.rondo | head -n 3
"$work/venv/bin/python" -c 'import rondo_core, rondo_vmm, pathlib
for package in (rondo_core, rondo_vmm):
    assert (pathlib.Path(package.__file__).parent / "py.typed").exists(), package'
"$work/venv/bin/python" -c 'from rondo_core import handles
from rondo_vmm import exit_totals
print("hot path:", *(each.__file__.rpartition("/")[2] for each in (handles, exit_totals)))'
echo "wheels: complete"
