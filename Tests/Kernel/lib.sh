# For the scripts that run inside a machine of Tools/vm: nodes of a volume, checks, and what a writer saw.
set -u
export HABLK_CONFIG_DIR=/run/etc
failed=0
# Of a machine of Tools/vm, or what Tests/Kernel/here gives.
disk1=${HABLK_KERNEL_DISK1:-/dev/vda} disk2=${HABLK_KERNEL_DISK2:-/dev/vdb}
kernel_lines=$(dmesg 2>/dev/null | wc -l)

say() { echo "== $* (up $(cut -d' ' -f1 /proc/uptime))"; }
fail() { echo "FAILED: $*"; failed=1; }
# check WORDS COMMAND…: the command must succeed
check() {
    local words=$1
    shift
    "$@" || fail "$words: $*"
}
# refused REASON COMMAND…: exit code 3, and that reason
refused() {
    local reason=$1 output code
    shift
    output=$("$@" 2>&1)
    code=$?
    [ $code = 3 ] && case $output in *"($reason)"*) true ;; *) false ;; esac ||
        fail "should be refused for $reason: $* gave $code: $output"
    echo "$output" | head -n 1
}
# eventually SECONDS COMMAND…: succeeds in time
eventually() {
    local latest=$(($(seconds) + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(seconds)" -lt $latest ] || return 1
        sleep 0.1
    done
}
seconds() { cut -d. -f1 /proc/uptime; }
# Hundredths of a second since the machine started.
now() { cut -d' ' -f1 /proc/uptime | tr -d .; }

# As one node: alpha and bravo have their own folders, also on one machine.
alpha() { HABLK_NODE=alpha HABLK_RUNTIME_DIR=/run/alpha hablk "$@"; }
bravo() { HABLK_NODE=bravo HABLK_RUNTIME_DIR=/run/bravo hablk "$@"; }
# The witness, when there is one.
charlie() { HABLK_NODE=charlie HABLK_RUNTIME_DIR=/run/charlie HABLK_STATE_DIR=/run/state hablk "$@"; }
field() { sed -n "s/.*\"$1\": \"\\{0,1\\}\\([^\",}]*\\).*/\\1/p" | head -n 1; }
pid_of() { "$1" status r0 --json | field pid; }

# The volume r0 of two nodes with the disks $1 and $2, both here, alpha primary; $3 …: more options of `create`.
begin_volume() {
    local one=$1 two=$2
    shift 2
    mkdir -p /run/etc
    for node in alpha bravo; do
        $node create r0 --quorum off --assume-identical --force "$@" \
            --node alpha=127.0.0.1:7001,"$one" --node bravo=127.0.0.1:7002,"$two" >/dev/null || return 1
        $node up r0 >/dev/null || return 1
    done
    alpha wait r0 --for in-sync --timeout 20 >/dev/null && alpha promote r0 >/dev/null
}
# The same with a witness, all three here.
begin_quorum() {
    mkdir -p /run/etc
    for node in alpha bravo charlie; do
        $node create r0 --assume-identical --force --witness charlie=127.0.0.1:7003 \
            --node alpha=127.0.0.1:7001,"$1" --node bravo=127.0.0.1:7002,"$2" >/dev/null || return 1
        $node up r0 >/dev/null || return 1
    done
    alpha wait r0 --for connected --timeout 20 >/dev/null && alpha promote r0 >/dev/null &&
        alpha wait r0 --for in-sync --timeout 20 >/dev/null
}
# This machine's node $1 of r0, in sync with the other machine's.
begin_node() {
    export HABLK_NODE=$1 HABLK_RUNTIME_DIR=/run/$1
    mkdir -p /run/etc
    hablk create r0 --quorum off --assume-identical --force \
        --node alpha=10.77.0.1:7001,/dev/vda --node bravo=10.77.0.2:7001,/dev/vda >/dev/null &&
        hablk up r0 && hablk wait r0 --for in-sync --timeout 60
}
end_volume() {
    alpha down r0 >/dev/null
    bravo down r0 >/dev/null
    rm -rf /run/etc
}

make_file_system() {
    case $1 in
        ext4) mkfs.ext4 -q -F "$2" ;;
        xfs) mkfs.xfs -q -f "$2" ;;
    esac
}
check_file_system() {
    case $1 in
        ext4) e2fsck -fn "$2" >/run/fsck 2>&1 ;;
        xfs) xfs_repair -n "$2" >/run/fsck 2>&1 ;;
    esac || { cat /run/fsck; return 1; }
}

# write_files FOLDER LOG: makes small files, each fsynced, and logs each that is safe with the time, until stopped; prints
# them too when `tell` is set.
write_files() {
    local number=0
    while [ ! -e "$2.stop" ]; do
        number=$((number + 1))
        { seq 1 200; echo "file $number"; } >"/run/content.$$"
        if ! dd if="/run/content.$$" of="$1/f$number" bs=4k conv=fsync 2>"$2.error"; then
            echo "write $number failed: $(cat "$2.error")" >"$2.failed"
            break
        fi
        echo "$number $(now)" >>"$2"
        [ -z "${tell:-}" ] || echo "safe $number"
    done
}
# The longest time between two safe files, in seconds.
longest_stall() { awk 'NR > 1 && $2 - t > m { m = $2 - t } { t = $2 } END { printf "%.2f", m / 100 }' "$1"; }
# Each file that the log calls safe is there, whole.
check_files() {
    local number rest missing=0 count=0
    while read -r number rest; do
        count=$((count + 1))
        [ "$(tail -n 1 "$1/f$number" 2>/dev/null)" = "file $number" ] || missing=$((missing + 1))
    done <"$2"
    echo "$count fsynced files, $missing missing"
    [ $missing = 0 ] && [ $count -gt 0 ]
}
# The kernel reported no error of the device.
check_kernel_log() {
    ! dmesg | tail -n +$((kernel_lines + 1)) | grep -E "I/O error|EXT4-fs error|XFS.*(error|shut)|Buffer I/O|hung task" | head -n 5 | grep .
}
finish() {
    [ $failed = 0 ] || {
        for node in alpha bravo charlie; do
            echo "-- $node"
            tail -n 40 /run/$node/r0.log 2>/dev/null
        done
        dmesg | tail -n 25
    }
    exit $failed
}
