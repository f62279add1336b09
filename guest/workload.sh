#!/bin/busybox sh
# Four phases in SECONDS: CPU burst 28 %, idle 17 %, I/O 28 %, mixed the rest; each is named on the console as it begins.
#   workload.sh SECONDS [DISK]     default disk: /dev/vda, whose first MiB is overwritten; where there is none, the
#                                  random number device is read instead
duration=$1
disk=${2:-/dev/vda}
written=0
read=0
block=65536

# now: centiseconds since boot, in $now
now() {
    read -r up _ </proc/uptime
    now=$((${up%.*} * 100 + 1${up#*.} - 100))
}

# begin NAME PERCENT: name a phase that ends after that share of the whole, in $ends
begin() {
    echo "rondo-guest phase $1"
    ends=$((started + duration * $2))
}

compute() {
    i=0
    while [ $i -lt 4000 ]; do i=$((i + 1)); done
}

# copied: the bytes that dd said it copied, in whole blocks, in $bytes
copied() {
    bytes=0
    while read -r records _ way; do
        [ "$way" != out ] || bytes=$((${records%+*} * block))
    done </said
}

# access COUNT: that many blocks written and read again, past the page cache
access() {
    if [ "$blocks" -gt 0 ]; then
        dd if=/dev/zero of="$disk" bs=$block count="$1" oflag=direct conv=notrunc,fsync 2>/said
        copied
        written=$((written + bytes))
        dd if="$disk" of=/dev/null bs=$block count="$1" iflag=direct 2>/said
        copied
        read=$((read + bytes))
    elif [ -c /dev/hwrng ]; then
        dd if=/dev/hwrng of=/dev/null bs=64 count="$1" 2>/dev/null
    fi
}

# pause: a moment, in which the processor sleeps
pause() { usleep 20000; }

blocks=0
name=${disk##*/}
if [ -b "$disk" ]; then
    blocks=$(($(cat "/sys/block/$name/size") * 512 / block))
    [ "$blocks" -le 16 ] || blocks=16
    # What the kernel itself read, in its search for partitions: reads, merges, sectors, ms, ...
    read -r _ _ sectors _ <"/sys/block/$name/stat"
    echo "rondo-guest disk blocks=$blocks probed=$((sectors * 512))"
fi

echo "rondo-guest 2 workload_duration=$duration"
now
started=$now

begin cpu 28
while now && [ $now -lt $ends ]; do compute; done

begin idle 45
while now && [ $now -lt $ends ]; do usleep 100000; done

begin io 73
while now && [ $now -lt $ends ]; do
    access "$blocks"
    pause
done

begin mixed 100
while now && [ $now -lt $ends ]; do
    compute
    access "$(((blocks + 3) / 4))"
    pause
done

echo "rondo-guest dd written=$written read=$read"
echo "rondo-guest done"
