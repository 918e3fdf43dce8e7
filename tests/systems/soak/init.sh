#!/bin/busybox sh
# SPDX-License-Identifier: MIT
#
# The guest's first program: works for ever and tells of each round over the serial line.

/bin/busybox mkdir -p /proc /sys /tmp
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev 2>/dev/null
/bin/busybox mount -t tmpfs tmpfs /tmp
/bin/busybox --install -s /bin
export PATH=/bin
exec </dev/null >/dev/ttyS0 2>&1
for module in $(cat /modules/order); do
    insmod "/modules/$module.ko"
done
until [ -b /dev/sda ]; do
    sleep 1
done
. /work.sh

# All memory is touched once, so that the monitor's size says something from then on.
dd if=/dev/zero of=/tmp/fill bs=1M count=72 2>/dev/null
rm /tmp/fill

interrupts() {
    awk -v name="$1" '$0 ~ name { n += $2 } END { print n + 0 }' /proc/interrupts
}

round=0
while :; do
    work /tmp /dev/sda
    round=$((round + 1))
    echo "SOAK round=$round sum=$sum timer=$(interrupts '(timer|Local)') disk=$(interrupts ata)"
done
