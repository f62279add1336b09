#!/bin/sh
# Run a command with the hot path compiled in this checkout; afterwards it is Python again.
#   scripts/compiled.sh PYTHON COMMAND ...
set -eu
python=$1
shift
trap 'rm -f rondo_core/record/*.so rondo_vmm/observe/exit_totals.*.so' EXIT
trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 143' TERM  # a shell that a signal ends takes no trap of EXIT
"$python" hatch_build.py || { echo "compiled: no C compiler here; the compiled hot path is left out" >&2; exit 0; }
"$@"
