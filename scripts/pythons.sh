#!/bin/sh
# Print the path of one working CPython of each version from 3.11 on that this machine has, the default one first.
set -eu
seen=" "
for python in "${PYTHON:-python3}" python3.11 python3.12 python3.13 \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python /usr/bin/python3 /usr/local/bin/python3; do
    version=$("$python" -c 'import sys, sysconfig, venv
if sys.version_info >= (3, 11) and not sysconfig.get_config_var("Py_GIL_DISABLED"):
    print("%d.%d" % sys.version_info[:2], sys.executable)' 2>/dev/null) || continue
    [ -n "$version" ] || continue
    case "$seen" in *" ${version%% *} "*) continue ;; esac
    seen="$seen${version%% *} "
    echo "${version#* }"
done
