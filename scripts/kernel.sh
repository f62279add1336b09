#!/bin/sh
# Have Debian's kernel for clouds in $1/boot, unpacked from its package without installing anything.
# Where it cannot be had it says so and goes on; the tests that need it are skipped and name the package.
set -eu
tools=$1 package=linux-image-cloud-amd64
ls "$tools"/boot/vmlinuz-*cloud-amd64 >/dev/null 2>&1 && exit 0
if [ "$(uname -m)" != x86_64 ] || ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
    echo "tools: no apt for x86 here; the tests that boot Linux are skipped" >&2
    exit 0
fi
echo "tools: fetching the package $package"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ "$(id -u)" = 0 ]; then
    apt-get update -qq >/dev/null 2>&1 || true
    chmod 755 "$work"
fi
kernel=$(apt-cache depends "$package" 2>/dev/null | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p' | head -n 1)
if [ -n "$kernel" ] && (cd "$work" && apt-get download -q "$kernel" >/dev/null 2>&1); then
    mkdir -p "$tools"
    dpkg --fsys-tarfile "$work"/*.deb | tar -x -C "$tools" ./boot
else
    echo "tools: the package $package could not be fetched; the tests that boot Linux are skipped" >&2
fi
