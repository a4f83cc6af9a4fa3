#!/bin/sh
# Inside the machine of Tools/bench/drbd: pairs of copies in one kernel, connected over 127.0.0.1, and fio on each pair's device.
# DRBD: two resources whose addresses are each other's. hablk: two daemons and /dev/nbdX. All on disks of the same kind.
# Prints a line for each run (`run TARGET|JOB|ROUND|OPERATIONS/S|P99 µs`) and each resync (`resync TARGET|ROUND|MIB/S`).
#   drbd-inside.sh ROUNDS SECONDS MIB brd|virtio TARGET…
set -u
rounds=$1 seconds=$2 mib=$3 kind=$4
shift 4
drbdsetup=/vm/drbdsetup-84 drbdmeta=/vm/drbdmeta
die() { echo "failed: $*"; tail -n 5 /run/*/*.log /run/error 2>/dev/null; dmesg | tail -n 5; exit 1; }
hundredths() { cut -d' ' -f1 /proc/uptime | tr -d .; }

mkdir -p /var/lib/drbd /var/run/drbd/lock /var/lock
modprobe nbd nbds_max=4 && modprobe drbd minor_count=8 || die "no modules"
[ "$kind" = virtio ] || modprobe brd rd_nr=9 rd_size=$((mib * 1024)) || die "no RAM disks"
disk() {  # disk NUMBER
    [ "$kind" = virtio ] && echo "/dev/vd$(echo abcdefghi | cut -c$(($1 + 1)))" || echo "/dev/ram$1"
}

# DRBD, by its first minor: 0 or 2.
state() { sed -n "s/^ *$1: .*$2:\([^ ]*\).*/\1/p" /proc/drbd; }  # state MINOR cs|ds
until_drbd() {  # until_drbd MINOR cs|ds VALUE
    local end=$(($(hundredths) + 6000))
    while [ "$(state $1 $2)" != "$3" ]; do
        [ "$(hundredths)" -lt $end ] || { cat /proc/drbd; die "DRBD is not $2:$3"; }
        sleep 0.02
    done
}
join_drbd() {  # join_drbd MINOR SIDE: one of both connects
    $drbdsetup connect "r$(($1 + $2))" "ipv4:127.0.0.1:70$1$2" "ipv4:127.0.0.1:70$1$((1 - $2))" --protocol="$protocol" \
        --max-buffers=8000 --max-epoch-size=8000
}
begin_drbd() {  # begin_drbd MINOR PROTOCOL DISK DISK
    local first=$1 side=0 minor
    protocol=$2
    shift 2
    for disk in "$@"; do
        minor=$((first + side))
        $drbdmeta --force $minor v08 "$disk" internal create-md >/run/error 2>&1 || die "drbdmeta"
        # The controller is off: as fast as it goes.
        $drbdsetup new-resource r$minor && $drbdsetup new-minor r$minor $minor 0 &&
            $drbdsetup attach $minor "$disk" "$disk" internal --c-plan-ahead=0 --resync-rate=4000M || die "attach"
        side=1
    done
    join_drbd $first 0 && join_drbd $first 1 || die "connect"
    until_drbd $first cs Connected
    $drbdsetup new-current-uuid --clear-bitmap $first || die "new-current-uuid"
    until_drbd $first ds UpToDate/UpToDate
    $drbdsetup primary $first || die "primary"
}

# hablk, by its volume: a folder for each of its nodes.
as() {  # as NODE VOLUME WORD…
    local node=$1 volume=$2 word=$3
    shift 3
    HABLK_CONFIG_DIR=/run/etc HABLK_NODE=$node HABLK_RUNTIME_DIR=/run/$node-$volume hablk "$word" "$volume" "$@"
}
begin_hablk() {  # begin_hablk VOLUME MODE PORT DISK DISK
    local node
    mkdir -p /run/etc
    for node in alpha bravo; do
        as $node "$1" create --quorum off --replication "$2" --assume-identical --force \
            --node "alpha=127.0.0.1:$3,$4" --node "bravo=127.0.0.1:$(($3 + 1)),$5" >/run/error 2>&1 || die "create"
        as $node "$1" up >/run/error 2>&1 || die "up"
    done
    as alpha "$1" wait --for in-sync --timeout 60 >/run/error 2>&1 && as alpha "$1" promote >/run/error 2>&1 || die "promote"
    device=$(as alpha "$1" map) || die "map"
}

device_of() {
    case $1 in
        disk) disk 8 ;;
        drbd-C) echo /dev/drbd0 ;;
        drbd-A) echo /dev/drbd2 ;;
        hablk) echo "$sync_device" ;;
        hablk-async) echo "$async_device" ;;
    esac
}
for target in "$@"; do
    case $target in
        disk) ;;
        drbd-C) begin_drbd 0 C "$(disk 0)" "$(disk 1)" ;;
        drbd-A) begin_drbd 2 A "$(disk 2)" "$(disk 3)" ;;
        hablk) begin_hablk sync sync 7801 "$(disk 4)" "$(disk 5)" && sync_device=$device ;;
        hablk-async) begin_hablk async async 7803 "$(disk 6)" "$(disk 7)" && async_device=$device ;;
        *) die "no target is called $target" ;;
    esac
    device=$(device_of $target)
    echo none >"/sys/block/${device#/dev/}/queue/scheduler" 2>/dev/null
    # All of it is allocated: a first write would measure the disk's own growing.
    dd if=/dev/zero of="$device" bs=1M oflag=direct 2>/dev/null
    echo "ready $target $device $(uname -r)"
done

measure() {  # measure TARGET ROUND JOB fio's words…
    local target=$1 round=$2 job=$3
    shift 3
    /vm/fio --name=bench --filename="$(device_of $target)" "$@" --ioengine=libaio --direct=1 --time_based --runtime=$seconds \
        --ramp_time=0.5 --size=100% --randrepeat=0 --norandommap --eta=never --output-format=terse --terse-version=3 \
        >/run/fio 2>/run/error || die "fio on $target"
    # The 49th field is what it wrote a second; the latencies' percentiles of writes are the second such list.
    awk -F';' -v name="$target|$job|$round" '$1 == 3 {
        count = 0
        for (i = 1; i <= NF; i++) if ($i ~ /^99\.0+%=/ && ++count == 2) { split($i, tail, "="); p99 = tail[2] }
        print "run " name "|" $49 "|" p99
    }' /run/fio
}
resync_drbd() {  # resync_drbd TARGET ROUND MINOR PROTOCOL
    local began ended
    protocol=$4
    $drbdsetup disconnect "ipv4:127.0.0.1:70${3}0" "ipv4:127.0.0.1:70${3}1" || die "disconnect"
    dd if=/dev/zero of=/dev/drbd$3 bs=1M oflag=direct 2>/dev/null
    join_drbd $3 0 || die "connect"
    until_drbd $3 cs SyncSource
    began=$(hundredths)
    until_drbd $3 cs Connected
    ended=$(hundredths)
    awk -v mib="$mib" -v time=$((ended - began)) -v name="$1|$2" 'BEGIN { print "resync " name "|" mib * 100 / (time > 0 ? time : 1) }'
}
resync_hablk() {  # resync_hablk TARGET ROUND VOLUME DEVICE
    as alpha "$3" disconnect --force >/run/error 2>&1 || die "disconnect"
    dd if=/dev/zero of="$4" bs=1M oflag=direct 2>/dev/null
    as alpha "$3" connect >/run/error 2>&1 || die "connect"
    as alpha "$3" wait --for in-sync --timeout 120 >/run/error 2>&1 || die "wait"
    as alpha "$3" status --json | tr ',{}' '\n\n\n' | awk -F': *' -v name="$1|$2" '/"last-resync"/ { inside = 1 }
        inside && /"bytes"/ { bytes = $2 }
        inside && /"seconds"/ { seconds = $2 }
        bytes && seconds { print "resync " name "|" bytes / 1048576 / seconds; exit }'
}

round=0
while [ $round -lt $rounds ]; do
    for target in "$@"; do measure $target $round "4k write q1" --rw=randwrite --bs=4k --iodepth=1; done
    for target in "$@"; do measure $target $round "4k write q32" --rw=randwrite --bs=4k --iodepth=32; done
    for target in "$@"; do measure $target $round "128k write q8" --rw=write --bs=128k --iodepth=8; done
    for target in "$@"; do
        case $target in
            drbd-C) resync_drbd $target $round 0 C ;;
            drbd-A) resync_drbd $target $round 2 A ;;
            hablk) resync_hablk $target $round sync "$sync_device" ;;
            hablk-async) resync_hablk $target $round async "$async_device" ;;
        esac
    done
    round=$((round + 1))
done
