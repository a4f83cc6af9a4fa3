#!/bin/sh
# ext4 and xfs on /dev/nbdX, by netlink and by ioctls: what was written is there after the caches were dropped.
. "${HABLK_KERNEL_TEST:-/vm}/lib.sh"
check "the volume begins" begin_volume $disk1 $disk2
if [ ! -d /sys/module/nbd ]; then
    say "without the module"
    refused no-module alpha map r0 --timeout 5
    modprobe nbd nbds_max=2
fi
refused not-primary bravo map r0
refused no-such-device alpha map r0 --ioctl --device /dev/nbd777
check "unmap of what is not mapped" alpha unmap r0

for way in netlink ioctl; do
    for system in ext4 xfs; do
        say "$system, $way"
        device=$(alpha map r0 $([ $way = ioctl ] && echo --ioctl))
        check "map prints a device" test -b "$device"
        check "map again prints the same" test "$(alpha map r0)" = "$device"
        check "status shows it" test "$(alpha status r0 --json | field device)" = "$device"
        folder=/sys/block/${device#/dev/}
        for fact in logical_block_size=4096 write_cache="write back" fua=1 scheduler='[none] mq-deadline'; do
            value=$(cat "$folder/queue/${fact%%=*}")
            case $value in *"${fact#*=}"*) ;; *) [ "${fact%%=*}" = scheduler ] || fail "$fact is $value" ;; esac
        done
        [ $way = ioctl ] || check "its backend" test "$(cat $folder/backend)" = hablk:r0
        [ $way = ioctl ] || check "several queues" test "$(ls $folder/mq | wc -l)" -ge 2
        check "discard" test "$(cat $folder/queue/discard_max_bytes)" -gt 0
        check "mkfs" make_file_system $system $device
        check "mount" mount -t $system $device /mnt
        dd if=/dev/urandom of=/run/random bs=64k count=256 2>/dev/null
        check "write" dd if=/run/random of=/mnt/random bs=64k conv=fsync 2>/dev/null
        echo 3 >/proc/sys/vm/drop_caches
        check "read back" cmp /run/random /mnt/random
        refused in-use alpha unmap r0
        refused in-use alpha demote r0
        refused in-use alpha down r0
        umount /mnt
        sleep 60 <$device &
        holder=$!
        refused in-use alpha unmap r0
        kill $holder
        wait $holder 2>/dev/null
        check "fsck" check_file_system $system $device
        check "unmap" alpha unmap r0
        check "no device any more" test "$(alpha status r0 --json | field device)" = null
        check "no size any more" test "$(cat $folder/size)" = 0
    done
done
say "a chosen device, small sectors, and its end by demotion"
device=$(alpha map r0 --device /dev/nbd1 --block-size 512)
check "the chosen one" test "$device" = /dev/nbd1
check "small sectors" test "$(cat /sys/block/nbd1/queue/logical_block_size)" = 512
check "xfs of the last mount is readable" check_file_system xfs /dev/nbd1
check "demote unmaps" alpha demote r0
check "the size is gone" test "$(cat /sys/block/nbd1/size)" = 0
check "the kernel's log is clean" check_kernel_log
end_volume
finish
