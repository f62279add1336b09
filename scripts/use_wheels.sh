#!/bin/sh
# Install the wheels of a directory into an empty environment, from files only, and use what they brought.
#   PYTHON=python3.12 scripts/use_wheels.sh DIRECTORY
set -eu
dist=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip() { "$work/venv/bin/python" -m pip --quiet --disable-pip-version-check "$@" 2>"$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }; }

"${PYTHON:-python3}" -m venv "$work/venv"
# What other projects' wheels are needed is fetched first; then no index is asked, for rondo's own names least of all.
"$work/venv/bin/python" - "$dist"/*.whl >"$work/needed.txt" <<'P'
import sys, zipfile
for wheel in sys.argv[1:]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        for line in archive.read(name).decode().splitlines():
            needed = line.removeprefix("Requires-Dist: ")
            if needed != line and not needed.startswith("rondo-") and "extra ==" not in needed:
                print(needed)
P
pip download --dest "$work/others" -r "$work/needed.txt" unicorn pytest
install() { pip install --no-index --find-links "$work/others" --find-links "$dist" "$@"; }

install rondo-tsdb unicorn
cd "$work"
rondo=$work/venv/bin/rondo
$rondo --version
$rondo vmm --store vm.rondo --duration 1 >/dev/null 2>"$work/vmm.log" || { cat "$work/vmm.log" >&2; exit 1; }
$rondo query vm.rondo vmm_uptime_seconds | tail -n 1
$rondo bench tick --repeat 1 | tail -n 1
$rondo serve vm.rondo 2>&1 | grep 'install the extra web' || { echo "wheels: serve does not name what it misses" >&2; exit 1; }
for project in "$here"/rondo_exporters/*/; do
    name=$(basename "$project")
    version=$(basename "$dist/rondo_exporter_$name"-*.whl | cut -d- -f2)
    listed() { $rondo plugins | grep "rondo-exporter-$name"; }
    listed && { echo "wheels: $name without its wheel" >&2; exit 1; }
    install "rondo-exporter-$name"
    listed | grep -E " $version +ok\$" || { echo "wheels: $name: not listed as $version, ok" >&2; exit 1; }
    $rondo plugins "$name" >/dev/null
    pip uninstall --yes "rondo-exporter-$name"
    listed && { echo "wheels: $name is listed without its wheel" >&2; exit 1; }
    $rondo export vm.rondo --to csv 2>&1 >"$work/$name.csv" | grep -q "samples sent"
    rm -f vm.rondo/cursor_csv.json
done
$rondo info vm.rondo | head -n 3
"$work/venv/bin/python" - <<'P'
import pathlib, zipfile, sys
import rondo_core, rondo_promql, rondo_vmm, rondo_web, rondo_job, rondo_bridges, rondo_cli
from rondo_core.record import handles
from rondo_vmm.observe import exit_totals
for package in (rondo_core, rondo_promql, rondo_vmm, rondo_web, rondo_job, rondo_bridges):
    assert (pathlib.Path(package.__file__).parent / "py.typed").exists(), package
print("hot path:", *(each.__file__.rpartition("/")[2] for each in (handles, exit_totals)))
P
