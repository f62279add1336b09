#!/bin/sh
# Assemble the bundled guest. Needs binutils for x86 and nothing else; gives the same bytes everywhere.
#   guest/build.sh [OUTPUT]     default: rondo_vmm/data/guest.elf
set -eu
here=$(cd "$(dirname "$0")" && pwd)
output=${1:-$here/../rondo_vmm/data/guest.elf}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
as --32 -o "$work/guest.o" "$here/payload/guest.S"
objcopy -O binary -j .text "$work/guest.o" "$work/guest.elf"
# Relocations against the image's own labels would be left unresolved; there must be none.
if objdump -r "$work/guest.o" | grep -q R_386; then
    echo "guest/build.sh: the source needs a linker; write addresses as BASE + (label - image)" >&2
    exit 1
fi
cp "$work/guest.elf" "$output"
echo "$(sha256sum "$output" | cut -d' ' -f1)  $(wc -c <"$output") bytes"
