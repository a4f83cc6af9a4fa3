#!/bin/sh
# A volume grows under a mounted ext4 with a writer, which is told to grow too; the second time the daemon is killed meanwhile.
. "${HABLK_KERNEL_TEST:-/vm}/lib.sh"
PATH=$PATH:/vm
modprobe nbd nbds_max=0
check "the volume begins" begin_volume $disk1 $disk2 --size 64MiB
device=$(alpha map r0)
name=${device#/dev/} log=/run/log.grown
check "mkfs" make_file_system ext4 $device
check "mount" mount -t ext4 $device /mnt
mkdir /mnt/small
write_files /mnt/small $log &
writer=$!
eventually 20 test -s $log || fail "the writer does not begin"

mebibytes() { echo $(($(cat /sys/block/$name/size) / 2048)); }
# grown MIB: the device has that size, and the file system takes it.
grown() {
    [ "$(mebibytes)" = "$1" ] || fail "the device has $(mebibytes) MiB"
    check "resize2fs" resize2fs -p $device >/run/said 2>&1 || cat /run/said
    local blocks=$(df -k /mnt | awk 'END { print $2 }')
    [ "$blocks" -gt $(($1 * 850)) ] || fail "the file system has $blocks KiB"
}
fill() {  # fill FILE MIB
    check "$1" dd if=/dev/urandom of=/mnt/$1 bs=64k count=$(($2 * 16)) conv=fsync 2>/dev/null
    md5sum </mnt/$1 >/run/sum.$1
}
say "what cannot be"
refused would-shrink alpha resize r0 --size 32MiB
refused no-room alpha resize r0 --size 2GiB
refused not-primary bravo resize r0
say "it grows"
began=$(now)
check "dry run" alpha resize r0 --size 80MiB --dry-run
check "resize" alpha resize r0 --size 80MiB
echo "resize: $(($(now) - began)) hundredths"
grown 80
fill one 10

say "it grows, and the daemon is killed"
alpha resize r0 --size 96MiB >/run/resize 2>&1 &
resize=$!
sleep 0.3
kill -9 "$(pid_of alpha)"
wait $resize
echo "resize ended with $?: $(head -n 1 /run/resize)"
check "a new daemon" alpha up r0
check "in sync" alpha wait r0 --for in-sync --timeout 40
case $(mebibytes) in 80 | 96) ;; *) fail "the device has $(mebibytes) MiB" ;; esac
check "once more" alpha resize r0 --size 96MiB
grown 96
fill two 10
before=$(wc -l <$log)
eventually 30 sh -c "[ \$(wc -l <$log) -gt $((before + 5)) ]" || fail "the writer does not go on"
touch $log.stop
wait $writer
[ ! -e $log.failed ] || fail "$(cat $log.failed)"
echo "resize: the longest time between two fsyncs: $(longest_stall $log) s"

say "everything is there"
echo 3 >/proc/sys/vm/drop_caches
check "the files" check_files /mnt/small $log
for file in one two; do check "$file" test "$(md5sum </mnt/$file)" = "$(cat /run/sum.$file)"; done
umount /mnt
check "fsck" check_file_system ext4 $device
check "unmap" alpha unmap r0
check "the kernel's log is clean" check_kernel_log
end_volume
for disk in $disk1 $disk2; do dd if=$disk bs=1M count=96 2>/dev/null | md5sum; done | uniq | wc -l | grep -qx 1 ||
    fail "the copies differ"
finish
