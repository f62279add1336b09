#!/bin/sh
# Make the guests.
#   guest/build.sh [OUTPUT]          the bundled one, with binutils for x86; default: rondo_vmm/data/guest.elf
#   guest/build.sh --linux [DIR]     the Linux one, from Debian's packages: vmlinuz, initramfs.cpio and sources.txt
#                                    in DIR; default: .tools/guest. Installs nothing, needs apt and python3.
# Either gives the same bytes everywhere, the second as long as Debian's packages are the same.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

build_bundled() {
    output=${1:-$here/../rondo_vmm/data/guest.elf}
    as --32 -o "$work/guest.o" "$here/payload/guest.S"
    objcopy -O binary -j .text "$work/guest.o" "$work/guest.elf"
    # Relocations against the image's own labels would be left unresolved; there must be none.
    if objdump -r "$work/guest.o" | grep -q R_386; then
        echo "guest/build.sh: the source needs a linker; write addresses as BASE + (label - image)" >&2
        exit 1
    fi
    cp "$work/guest.elf" "$output"
    echo "$(sha256sum "$output" | cut -d' ' -f1)  $(wc -c <"$output") bytes"
}

# fetch PACKAGE FOLDER: download it and unpack it there
fetch() {
    (cd "$work" && apt-get download -q "$1" >"$work/apt.log" 2>&1) || {
        echo "guest/build.sh: the package $1 could not be fetched: $(grep -h '^E:' "$work/apt.log" | head -n 1)" >&2
        exit 1
    }
    dpkg -x "$work/$1"_*.deb "$2"
}

# note FILE WHAT: a line of the file's checksum and where it comes from
note() { echo "$(sha256sum "$1" | cut -d' ' -f1)  ${1##*/}  $2"; }

# version PACKAGE: of the one that was fetched
version() { dpkg-deb -f "$work/$1"_*.deb Package Version | sed 's/.*: //' | tr '\n' ' '; }

build_linux() {
    output=${1:-$here/../.tools/guest}
    for program in apt-get dpkg-deb python3; do
        command -v $program >/dev/null || { echo "guest/build.sh: $program is missing; the Linux guest is made from Debian's packages" >&2; exit 1; }
    done
    mkdir -p "$output"
    output=$(cd "$output" && pwd)
    chmod 755 "$work"
    [ "$(id -u)" != 0 ] || apt-get update -qq >/dev/null 2>&1 || true
    kernel=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p' | head -n 1)
    [ -n "$kernel" ] || { echo "guest/build.sh: apt knows no linux-image-cloud-amd64; add Debian's main archive" >&2; exit 1; }
    fetch "$kernel" "$work/unpacked"
    fetch busybox-static "$work/unpacked"
    busybox=$(find "$work/unpacked" -path '*bin/busybox' | head -n 1)
    modules=$(find "$work/unpacked" -path '*/lib/modules/*' -name kernel -type d | head -n 1)
    cp "$work/unpacked/boot"/vmlinuz-* "$output/vmlinuz.new"
    python3 "$here/initramfs.py" "$output/initramfs.new" "$busybox" "${modules%/kernel}"
    mv "$output/vmlinuz.new" "$output/vmlinuz"
    mv "$output/initramfs.new" "$output/initramfs.cpio"
    {
        note "$output/vmlinuz" "from $(version "$kernel")"
        note "$output/initramfs.cpio" "from $(version busybox-static)and guest/"
    } >"$output/sources.txt"
    cat "$output/sources.txt"
}

if [ "${1:-}" = --linux ]; then
    build_linux "${2:-}"
else
    build_bundled "${1:-}"
fi
