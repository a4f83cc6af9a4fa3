#!/bin/sh
# A device is bound to its line of writes, and waits rather than fails: a daemon and a peer that hang, a primary that was
# superseded while its device waited, a demotion by force.
. "${HABLK_KERNEL_TEST:-/vm}/lib.sh"
modprobe nbd nbds_max=0
check "the volume begins" begin_volume $disk1 $disk2
device=$(alpha map r0)
check "mkfs" make_file_system ext4 $device
check "mount" mount -t ext4 $device /mnt

# hang NAME SECONDS COMMAND-THAT-GIVES-A-PROCESS…: stops it under a writer.
hang() {
    local name=$1 time=$2 log=/run/log.$1 process
    shift 2
    process=$("$@")
    mkdir -p /mnt/$name
    write_files /mnt/$name $log &
    writer=$!
    eventually 10 test -s $log
    kill -STOP "$process"
    sleep $time
    kill -CONT "$process"
    local before=$(wc -l <$log)
    eventually 30 sh -c "[ \$(wc -l <$log) -gt $((before + 5)) ]" || fail "$name: the writer does not go on"
    touch $log.stop
    wait $writer
    [ ! -e $log.failed ] || fail "$name: $(cat $log.failed)"
    echo "$name: the longest time between two fsyncs: $(longest_stall $log) s"
}
say "the peer hangs"
hang peer-hangs 8 pid_of bravo
check "in sync again" alpha wait r0 --for in-sync --timeout 30
say "the daemon hangs for longer than the kernel waits for an answer"
hang daemon-hangs 13 pid_of alpha
check "the kernel's patience doubled" grep -q "its time-out is 10 s now" /run/alpha/r0.log
for name in peer-hangs daemon-hangs; do check "$name: the files" check_files /mnt/$name /run/log.$name; done
check "in sync again" alpha wait r0 --for in-sync --timeout 30

# Not on a machine that has other work.
if [ -z "${HABLK_KERNEL_TEST:-}" ]; then
    say "memory is short and the cache is dirty"
    mkdir /run/hog
    mount -t tmpfs -o size=90% hog /run/hog
    dd if=/dev/zero of=/mnt/large bs=1M count=200 2>/dev/null &
    dirty=$!
    # All but a little of what is free, while the file system writes back.
    free=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)
    dd if=/dev/zero of=/run/hog/file bs=1M count=$((free / 1024 - 60)) 2>/dev/null
    check "the writer ends" wait $dirty
    check "sync ends" timeout 100 sync
    echo "$(sed -n 's/^MemAvailable: *//p' /proc/meminfo) were left"
    umount /run/hog
    rm /mnt/large
fi
umount /mnt
check "fsck" check_file_system ext4 $device
check "in sync again" alpha wait r0 --for in-sync --timeout 30

say "superseded while its device waits"
kill -9 "$(pid_of alpha)"
# Queued in the kernel, which waits for the next daemon.
printf old | dd of=$device bs=4096 count=1 seek=1000 conv=sync oflag=direct 2>/run/queued &
queued=$!
sleep 1
check "bravo is promoted" bravo promote r0 --timeout 20
other=$(bravo map r0)
check "bravo has a device of its own" test "$other" != "$device"
check "bravo writes" sh -c "printf new | dd of=$other bs=4096 count=1 seek=1000 conv=sync,fsync 2>/dev/null"
check "alpha is back" alpha up r0
wait $queued && fail "what was queued before the other primary was written: $(cat /run/queued)"
eventually 20 test "$(cat /sys/block/${device#/dev/}/size)" = 0 || fail "the device is there still"
check "alpha says why" grep -q "another primary was there since" /run/alpha/r0.log
check "alpha is filled" bravo wait r0 --for in-sync --timeout 30
for disk in $disk1 $other; do
    check "the newer write stands on $disk" test "$(dd if=$disk bs=4096 count=1 skip=1000 iflag=direct 2>/dev/null | head -c 3)" = new
done
say "a demotion by force, under a mount"
check "mkfs" make_file_system ext4 $other
check "mount" mount -t ext4 $other /mnt
kill -STOP "$(pid_of alpha)"
dd if=/dev/zero of=/mnt/held bs=64k count=16 conv=fsync 2>/dev/null &
check "the demotion ends" timeout 20 sh -c '. "${HABLK_KERNEL_TEST:-/vm}/lib.sh"; bravo demote r0 --force'
kill -CONT "$(HABLK_NODE=alpha cat /run/alpha/r0.pid)"
wait
eventually 20 test ! -e /run/bravo/r0.device || fail "the device is kept"
check "its I/O fails" sh -c "! dd if=$other of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null"
umount /mnt
end_volume
finish
