#!/bin/sh
# The other machine: promotes when its peer is gone, maps, mounts, and finds every fsynced file. failover-2.sh ext4|xfs
. "${HABLK_KERNEL_TEST:-/vm}/lib.sh"
modprobe nbd nbds_max=0
begin_node bravo || fail "the node does not begin"
refused not-primary hablk map r0
check "the primary is there" hablk wait r0 --for primary --peer alpha --timeout 60
check "it is lost" hablk wait r0 --for disconnected --timeout 100
echo "lost"
check "promote" hablk promote r0 --timeout 20
device=$(hablk map r0)
check "mount" mount -t $1 $device /mnt
echo "mounted"
# Whoever runs this compares with what the other machine called safe.
for file in /mnt/files/f*; do
    [ "$(tail -n 1 $file)" = "file ${file##*/f}" ] && echo "has ${file##*/f}"
done
check "a new file" dd if=/dev/zero of=/mnt/new bs=4k count=1 conv=fsync
umount /mnt
check "fsck" check_file_system $1 $device
check "unmap" hablk unmap r0
check "the kernel's log is clean" check_kernel_log
hablk down r0
finish
