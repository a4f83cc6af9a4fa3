#!/bin/sh
# Pacemaker's agent with map=true, its actions called as Pacemaker would, without a cluster: a file system on the device
# through a crash of the daemon, a move in order, and a demotion and a stop under a file system that is mounted still.
. /vm/lib.sh
modprobe nbd nbds_max=4
cp /vm/flock /usr/bin/      # busybox lacks it
agent() {  # agent NODE ACTION
    env "HABLK_NODE=$1" "HABLK_RUNTIME_DIR=/run/$1" "HA_RSCTMP=/run/$1" OCF_ROOT=/vm OCF_FUNCTIONS_DIR=/vm \
        OCF_RESOURCE_INSTANCE=r0 OCF_RESKEY_volume=r0 OCF_RESKEY_map=true OCF_RESKEY_connect_wait=20 \
        OCF_RESKEY_CRM_meta_timeout=90000 OCF_RESKEY_CRM_meta_interval=10000 /vm/hablk "$2" >/run/said 2>&1
}
says() {  # says CODE NODE ACTION
    local code began=$(now)
    agent "$2" "$3"
    code=$?
    echo "$2 $3: $code after $((($(now) - began) / 100)) s"
    [ $code = "$1" ] || { fail "$2 $3: $code, expected $1"; cat /run/said; }
}
device_of() { "$1" status r0 --json | field device; }
is_gone() { [ "$(device_of "$1")" = null ]; }

mkdir -p /run/etc /run/alpha /run/bravo /mnt/a /mnt/b
for node in alpha bravo; do
    $node create r0 --quorum off --assume-identical --force \
        --node alpha=127.0.0.1:7001,/dev/vda --node bravo=127.0.0.1:7002,/dev/vdb >/dev/null || fail "create"
done
says 7 alpha monitor
agent bravo start &
says 0 alpha start
wait $!
says 0 bravo monitor

say "promoted: the device is there"
says 0 alpha promote
says 8 alpha monitor
device=$(device_of alpha)
check "a device" test -b "$device"
says 0 alpha promote
check "the same device" test "$(device_of alpha)" = "$device"
check "mkfs" make_file_system ext4 "$device"
check "mount" mount -t ext4 "$device" /mnt/a

say "its daemon is killed: who follows it starts it again, and the file system does not notice"
log=/run/log.killed
write_files /mnt/a $log &
writer=$!
eventually 20 test -s $log || fail "the writer does not begin"
kill -KILL "$(pid_of alpha)"
count=$(wc -l <$log)
eventually 60 sh -c "[ \$(wc -l <$log) -gt $((count + 5)) ]" || fail "the writer does not go on: $(cat /run/alpha/r0.log | tail -n 5)"
touch $log.stop
wait $writer
[ ! -e $log.failed ] || fail "$(cat $log.failed)"
echo "agent: the longest stall was $(longest_stall $log) s"
says 8 alpha monitor
check "the same device" test "$(device_of alpha)" = "$device"

say "moved in order"
check "umount" umount /mnt/a
says 0 alpha demote
says 0 alpha monitor
check "no device any more" is_gone alpha
says 0 bravo promote
check "mount" mount -t ext4 "$(device_of bravo)" /mnt/b
check "its files" check_files /mnt/b $log

say "demoted under a mounted file system"
sync
says 0 bravo demote
says 0 bravo monitor
check "no device any more" is_gone bravo
says 0 alpha promote
says 8 alpha monitor
check "mount" mount -t ext4 "$(device_of alpha)" /mnt/a
check "its files" check_files /mnt/a $log
check "the old one is let go" umount /mnt/b

say "stopped under a mounted file system"
says 0 alpha stop
says 7 alpha monitor
says 0 bravo stop
eventually 10 sh -c '! pidof hablk' || fail "processes are left: $(ps | grep hablk)"
finish
