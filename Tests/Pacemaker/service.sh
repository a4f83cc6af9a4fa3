#!/usr/bin/env bash
# Runs inside a cluster (Tools/cluster): PostgreSQL on ext4 on the volume, behind an address, as Tools/pacemaker says; a
# client out there inserts rows while its node dies, is put to standby, and loses its disk.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
postgresql=$top/.build/cluster/postgresql
[ -x "$postgresql/usr/lib/postgresql/15/bin/postgres" ] || { echo "no PostgreSQL: Tools/install cluster"; exit 1; }

sql() {  # sql STATEMENT: from outside, to the address
    cluster outside env LD_LIBRARY_PATH="$postgresql/usr/lib/x86_64-linux-gnu" timeout 20 \
        "$postgresql/usr/lib/postgresql/15/bin/psql" "host=10.78.0.100 user=postgres connect_timeout=2 tcp_user_timeout=2000" \
        -Atqc "$1" 2>>"$work/sql"
}
prepare() {
    local node
    for node in n1 n2; do
        cluster exec "$node" cp -a "$postgresql/usr/." /usr/
        cluster exec "$node" sh -c 'getent passwd postgres >/dev/null || useradd --system --user-group postgres'
        cluster exec "$node" mkdir -p /srv/r0 /srv/r0-file
        cluster exec "$node" hablk create r0 --node n1=10.78.1.1:7789,/var/lib/hablk/r0.img \
            --node n2=10.78.1.2:7789,/var/lib/hablk/r0.img --size 256MiB --quorum off >/dev/null || return
        printf 'fencing: stonith\nfence-command: /usr/lib/hablk/fence\n' | cluster exec "$node" tee -a /etc/hablk/r0.yaml >/dev/null
    done
    cluster exec n1 crm configure load update - <"$top/Tools/pacemaker/two-nodes.crm"
    cluster wait 30 ' Promoted: \[ n. \]' || return
    # Once, where the volume is primary.
    cluster exec "$(cluster promoted)" sh -e -c '
        nbdfuse /srv/r0-file/disk "nbd+unix:///r0?socket=/run/hablk/r0.nbd" &
        until [ -s /srv/r0-file/disk ]; do sleep 0.1; done
        mke2fs -q -F -t ext4 /srv/r0-file/disk
        mount -o loop /srv/r0-file/disk /srv/r0
        install -d -o postgres -m 700 /srv/r0/data
        setpriv --reuid=postgres --regid=postgres --clear-groups \
            /usr/lib/postgresql/15/bin/initdb -D /srv/r0/data -A trust >/dev/null
        printf "%s\n" "listen_addresses = '"'*'"'" "unix_socket_directories = '"'/run/postgresql'"'" >>/srv/r0/data/postgresql.conf
        echo "host all all 10.78.0.0/24 trust" >>/srv/r0/data/pg_hba.conf
        umount /srv/r0
        fusermount3 -u /srv/r0-file
        wait' || return
    sed 's/192\.0\.2\./10.78.0./' "$top/Tools/pacemaker/postgresql.crm" | cluster exec n1 crm configure load update - || return
    steady && sql 'create table rows (number int primary key)'
}
steady() {
    cluster wait 90 'Online: \[ n1 n2 \]' ' Promoted: \[ n. \]' ' Unpromoted: \[ n. \]' 'r0-address.*Started' || return
    primary=$(cluster promoted)
    [ -n "$primary" ] || { echo "nobody is promoted any more"; return 1; }
    other=n$((3 - ${primary#n}))
    cluster exec "$primary" hablk wait r0 --for in-sync --timeout 60s >/dev/null
}
insert() {  # rows with rising numbers; what was committed is a line of the file
    local number=0 last now
    trap 'exit 0' TERM
    last=$EPOCHREALTIME
    while :; do
        number=$((number + 1))
        sql "insert into rows values ($number)" || { sql "select 1 from rows where number = $number" | grep -q 1 || continue; }
        now=$EPOCHREALTIME
        echo "$number $(bc <<<"$now - $last")" >>"$work/committed"
        last=$now
    done
}
event() {  # event NAME COMMAND…: what happens; then all is well again
    local name=$1 code=0
    shift
    cluster mark
    sql 'delete from rows' && : >"$work/committed"
    insert &
    local client=$!
    sleep 2
    "$@" || code=1
    steady || code=1
    local count end=$((SECONDS + 30))
    count=$(wc -l <"$work/committed")
    until [ "$(wc -l <"$work/committed")" -gt $((count + 5)) ]; do
        [ $SECONDS -lt $end ] || { echo "its clients do not go on"; code=1; break; }
        sleep 0.2
    done
    kill -TERM $client
    wait $client
    sql 'select number from rows order by number' >"$work/rows"
    local lost
    lost=$(comm -23 <(cut -d ' ' -f 1 "$work/committed" | sort) <(sort "$work/rows") | wc -l)
    printf '%-18s        commits %s stall %s s lost %s\n' "$name" "$(wc -l <"$work/committed")" \
        "$(cut -d ' ' -f 2 "$work/committed" | sort -g | tail -n 1)" "$lost"
    [ $code = 0 ] && [ "$lost" = 0 ] && [ -s "$work/committed" ] && return
    cluster events
    cluster status
    tail -n 5 "$work/sql"
    return 1
}
node_dies() { cluster kill "$primary" && cluster seen 60 "r0-address start on $other: ok" && cluster start "$primary"; }
moved() {
    cluster exec "$primary" crm_standby --node "$primary" --update on && cluster seen 60 "r0-address start on $other: ok" &&
        cluster exec "$primary" crm_standby --node "$primary" --update off
}
disk_lost() {  # nothing above it notices
    cluster exec "$primary" hablk detach r0 --force >/dev/null && sleep 3 && ! cluster events | grep -E 'start|stop' &&
        cluster exec "$primary" hablk attach r0 >/dev/null
}

trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
prepare || { cluster events; cluster status; echo "the service cannot be made"; exit 1; }
failed=0
event service-moved moved || failed=1
event service-disk-lost disk_lost || failed=1
event service-killed node_dies || failed=1
# At rest: both copies are equal, and the file system is clean.
cluster mark
cluster exec "$primary" crm resource stop r0-service
cluster seen 60 'r0-file stop on n.: ok' && cmp -n $((256 << 20)) "$CLUSTER_DIR/n1/disk/r0.img" "$CLUSTER_DIR/n2/disk/r0.img" &&
    e2fsck -fn "$CLUSTER_DIR/n1/disk/r0.img" >"$work/fsck" 2>&1 || { cat "$work/fsck"; echo "at rest: not equal, or not clean"; failed=1; }
exit $failed
