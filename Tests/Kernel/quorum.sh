#!/bin/sh
# A file system on a volume with a witness: without a majority its writes wait and then go on, and when another node was
# elected meanwhile they fail, its device is released, and the other node has every fsynced file.
. "${HABLK_KERNEL_TEST:-/vm}/lib.sh"
modprobe nbd nbds_max=0
check "the volume begins" begin_quorum $disk1 $disk2
device=$(alpha map r0)
check "mkfs" make_file_system ext4 $device
check "mount" mount -t ext4 $device /mnt

say "no majority: bravo and the witness are stopped under a writer"
log=/run/log.waits
mkdir /mnt/waits
write_files /mnt/waits $log &
writer=$!
eventually 10 test -s $log || fail "the writer does not begin"
others="$(pid_of bravo) $(pid_of charlie)"
kill -STOP $others
waits_for_quorum() { alpha status r0 --json | grep -q '"suspended": \["quorum"'; }
eventually 20 waits_for_quorum || fail "alpha does not wait for its quorum: $(alpha status r0)"
before=$(wc -l <$log)
# Longer than the kernel waits for an answer before it asks again.
sleep 12
check "nothing was acknowledged" test "$(wc -l <$log)" = "$before"
check "it waits still" waits_for_quorum
kill -CONT $others
eventually 30 sh -c "[ \$(wc -l <$log) -gt $((before + 5)) ]" || fail "the writer does not go on"
touch $log.stop
wait $writer
[ ! -e $log.failed ] || fail "$(cat $log.failed)"
echo "no majority: the longest time between two fsyncs: $(longest_stall $log) s"
check "in sync again" alpha wait r0 --for in-sync --timeout 30
check "the files" check_files /mnt/waits $log
check "the kernel's log is clean" check_kernel_log

say "another primary is elected while this one is stopped under a writer"
log=/run/log.superseded
mkdir /mnt/superseded
write_files /mnt/superseded $log &
writer=$!
eventually 10 test -s $log || fail "the writer does not begin"
stopped=$(pid_of alpha)
kill -STOP $stopped
check "bravo is elected" bravo promote r0 --timeout 30
kill -CONT $stopped
eventually 30 test -e $log.failed || fail "the writer of the former primary was not told"
wait $writer
umount /mnt || umount -l /mnt
eventually 20 test "$(cat /sys/block/${device#/dev/}/size)" = 0 || fail "alpha's device is there still"
check "alpha is a secondary, in sync, without a hand" alpha wait r0 --for secondary,in-sync --timeout 30
other=$(bravo map r0)
check "mount" mount -t ext4 $other /mnt
check "the files" check_files /mnt/superseded $log
umount /mnt
check "fsck" check_file_system ext4 $other
check "unmap" bravo unmap r0
charlie down r0 >/dev/null
end_volume
for disk in $disk1 $disk2; do dd if=$disk bs=1M count=300 2>/dev/null | md5sum; done | uniq | wc -l | grep -qx 1 ||
    fail "the copies differ"
finish
