#!/bin/sh
# Have qemu-system-x86_64. It needs some thirty libraries, so it is installed, which takes root; where it cannot be had
# this says so and goes on; the tests that need it are skipped.
set -eu
command -v qemu-system-x86_64 >/dev/null && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "tools: no qemu-system-x86_64; install the package qemu-system-x86 to run the tests that need it" >&2
    exit 0
fi
echo "tools: installing the package qemu-system-x86"
apt-get update -qq >/dev/null 2>&1 || true
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends qemu-system-x86 >/dev/null 2>&1 ||
    echo "tools: the package qemu-system-x86 could not be installed; tests that need it are skipped" >&2
