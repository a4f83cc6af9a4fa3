#!/bin/sh
# A machine as one would find it, with the module loaded and work of its own: `here` runs a scenario on it and leaves
# nothing behind.
. /vm/lib.sh
modprobe nbd nbds_max=4
mkdir -p /run/mine /root/tmp
touch /mnt/mine
before=$(ls /run /mnt /root/tmp /tmp; cat /proc/mounts)
check "a scenario on this kernel" env TMPDIR=/root/tmp /vm/here "$(command -v hablk)" /vm/supervisor /vm/quorum.sh
check "nothing is left" test "$(ls /run /mnt /root/tmp /tmp; cat /proc/mounts)" = "$before"
check "no process is left" sh -c '! pidof hablk'
finish
