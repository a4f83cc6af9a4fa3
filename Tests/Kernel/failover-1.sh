#!/bin/sh
# The primary whose power is cut while it writes. failover-1.sh ext4|xfs
. "${HABLK_KERNEL_TEST:-/vm}/lib.sh"
modprobe nbd nbds_max=0
begin_node alpha || fail "the node does not begin"
check "promote" hablk promote r0
device=$(hablk map r0)
check "mkfs" make_file_system $1 $device
check "mount" mount -t $1 $device /mnt
mkdir /mnt/files
tell=yes
write_files /mnt/files /run/log &
eventually 60 sh -c '[ $(wc -l </run/log) -ge 20 ]' || fail "the writer does not get on"
[ $failed = 0 ] || finish
echo "cut here"
sleep 100
