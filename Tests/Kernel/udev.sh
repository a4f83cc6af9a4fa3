#!/bin/sh
# /dev/hablk/by-volume/r0 by a real udev: there when `map` returns, gone with the device, its partitions beside it.
. "${HABLK_KERNEL_TEST:-/vm}/lib.sh"
tar xf /vm/udev.tar -C /
mkdir -p /run/udev
/usr/lib/systemd/systemd-udevd --daemon 2>/dev/null
eventually 10 test -e /run/udev/control || fail "udev does not start"
modprobe nbd nbds_max=0
check "the volume begins" begin_volume $disk1 $disk2
link=/dev/hablk/by-volume/r0
for round in 1 2; do
    device=$(alpha map r0)
    check "the link is there" test "$(readlink -f $link)" = "$device"
    check "unmap, whoever looks into it" alpha unmap r0
    udevadm settle
    check "the link is gone" test ! -e $link -a ! -L $link
done
device=$(alpha map r0)
printf 'o\nn\np\n1\n\n\nw\n' | fdisk $device >/dev/null 2>&1
udevadm settle
check "a partition's link" test "$(readlink -f $link-part1)" = "${device}p1"
mkfs.ext4 -q -F ${device}p1
mount -t ext4 ${device}p1 /mnt
refused in-use alpha unmap r0
umount /mnt
check "demote" alpha demote r0
udevadm settle
check "all links are gone" test ! -e /dev/hablk
end_volume
finish
