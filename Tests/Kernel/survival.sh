#!/bin/sh
# A writing file system whose daemon is killed, restarted, replaced and told to stop: no error, no lost fsync.
# survival.sh ext4|xfs
. "${HABLK_KERNEL_TEST:-/vm}/lib.sh"
system=$1
modprobe nbd nbds_max=0
check "the volume begins" begin_volume $disk1 $disk2
device=$(alpha map r0)
check "mkfs" make_file_system $system $device
check "mount" mount -t $system $device /mnt

# while_writing NAME COMMAND…: does it under a writer, and tells the longest pause.
while_writing() {
    local name=$1 log=/run/log.$1 before
    shift
    mkdir -p /mnt/$name
    write_files /mnt/$name $log &
    writer=$!
    eventually 10 test -s $log || fail "$name: the writer does not begin"
    sleep 2
    "$@" || fail "$name: $*"
    before=$(wc -l <$log)
    eventually 30 sh -c "[ \$(wc -l <$log) -gt $((before + 5)) ]" ||
        fail "$name: the writer does not go on: $(alpha status r0; tail -n 15 /run/alpha/r0.log /run/bravo/r0.log)"
    touch $log.stop
    wait $writer
    [ ! -e $log.failed ] || fail "$name: $(cat $log.failed)"
    echo "$system: $name: the longest time between two fsyncs: $(longest_stall $log) s, $(wc -l <$log) files"
}
restart_after_kill() {
    kill -9 "$(pid_of alpha)" && alpha up r0 >/dev/null
}
stop_and_start() {
    local process=$(pid_of alpha)
    kill -TERM "$process" && eventually 20 sh -c "! kill -0 $process" && alpha up r0 >/dev/null
}
replace() {
    local process=$(pid_of alpha) program=$(command -v hablk)
    # Another file under the same name, as an upgrade leaves it.
    cp "$program" "$program.new" && mv "$program.new" "$program"
    kill -HUP "$process"
    eventually 20 grep -q "process: now $program" /run/alpha/r0.log && alpha wait r0 --for primary --timeout 20
    check "the same process" test "$(pid_of alpha)" = "$process"
}

say "$system: nothing happens"
while_writing calm sleep 2
say "$system: kill -9, and a new daemon"
while_writing killed restart_after_kill
check "the same device" test "$(alpha status r0 --json | field device)" = "$device"
say "$system: SIGTERM, and a new daemon"
while_writing stopped stop_and_start
say "$system: SIGHUP: the program anew in the same process"
while_writing replaced replace
say "$system: a restart by a service manager that keeps the sockets"
kill -TERM "$(pid_of alpha)"
eventually 20 sh -c '! [ -e /run/alpha/r0.pid ]' || fail "it does not stop"
HABLK_NODE=alpha HABLK_RUNTIME_DIR=/run/alpha WATCHDOG_USEC=4000000 \
    "${HABLK_KERNEL_TEST:-/vm}/supervisor" /run/notify hablk run r0 >/run/supervisor.log 2>>/run/alpha/r0.log &
supervisor=$!
check "primary again" alpha wait r0 --for primary --timeout 30
restart_by_supervisor() {
    local process=$(pid_of alpha)
    kill -HUP $supervisor
    eventually 20 sh -c "! kill -0 $process" && alpha wait r0 --for primary --timeout 30
}
while_writing restarted restart_by_supervisor
check "the sockets were kept" grep -q "FDNAME=hablk-device" /run/supervisor.log
check "they went on" test "$(tail -n 12 /run/alpha/r0.log | grep -c "has fresh sockets")" = 0
check "the watchdog is fed" grep -q "WATCHDOG=1" /run/supervisor.log
say "$system: everything is there"
for name in calm killed stopped replaced restarted; do
    echo 3 >/proc/sys/vm/drop_caches
    check "$name: the files" check_files /mnt/$name /run/log.$name
done
umount /mnt
check "fsck" check_file_system $system $device
check "unmap" alpha unmap r0
check "the kernel's log is clean" check_kernel_log
kill -TERM $supervisor
wait $supervisor
end_volume
for disk in $disk1 $disk2; do dd if=$disk bs=1M count=300 2>/dev/null | md5sum; done | uniq | wc -l | grep -qx 1 ||
    fail "the copies differ"
finish
