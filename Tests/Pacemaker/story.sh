#!/usr/bin/env bash
# Runs inside a cluster (Tools/cluster): the volume, the scenarios named, and what came of them.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/scenarios.sh"
sockets=("$CLUSTER_DIR/n1/run/r0.nbd" "$CLUSTER_DIR/n2/run/r0.nbd")
images=("$CLUSTER_DIR/n1/disk/r0.img" "$CLUSTER_DIR/n2/disk/r0.img")

prepare() {
    local node
    for node in n1 n2; do
        # The time that an unanswered write waits is longer than fencing takes: until then nobody goes on alone.
        cluster exec "$node" tee /etc/hablk/r0.yaml >/dev/null <<END
volume: r0
size: 64MiB
quorum: off
timeout: 30s
nodes:
  n1: {id: 0, address: "10.78.1.1:7789", disk: /var/lib/hablk/r0.img, nbd: {listen: "0.0.0.0:10809"}}
  n2: {id: 1, address: "10.78.1.2:7789", disk: /var/lib/hablk/r0.img, nbd: {listen: "0.0.0.0:10809"}}
END
        cluster exec "$node" hablk create r0 >/dev/null || return
    done
    cluster exec n1 ocf-tester -n r0 -o volume=r0 -o connect_wait=1 /usr/lib/ocf/resource.d/hablk/hablk >"$work/ocf-tester" 2>&1 ||
        { cat "$work/ocf-tester"; return 1; }
    echo "ocf-tester: $(tail -n 1 "$work/ocf-tester")"
    cluster exec n1 crm configure load update - <"$here/../../Tools/pacemaker/two-nodes.crm" || return
    sed 's/192\.0\.2\./10.78.0./' "$here/../../Tools/pacemaker/address.crm" | cluster exec n1 crm configure load update - 
}
steady() {  # both nodes there, one promoted, both copies in sync
    cluster wait 60 'Online: \[ n1 n2 \]' ' Promoted: \[ n. \]' ' Unpromoted: \[ n. \]' || return
    primary=$(cluster promoted)
    [ -n "$primary" ] || { echo "nobody is promoted any more"; return 1; }
    other=n$((3 - ${primary#n}))
    cluster exec "$primary" hablk wait r0 --for in-sync --timeout 60s >/dev/null
}
heal() {
    local node
    for node in n1 n2; do
        rm -f "$CLUSTER_DIR/$node/bmc.fail" "$CLUSTER_DIR/$node/bmc.delay"
        cluster plug "$node"
        cluster start "$node"
        cluster thaw "$node"
    done
}
scenario() {  # scenario NAME: one line of the table
    local name=$1 began=$SECONDS client code=0 result
    steady || { echo "$name: the cluster is not well before it"; return 1; }
    first=$primary second=$other
    cluster mark
    # A scenario of the virtual address has its client out there.
    case $name in
        address-*) cluster outside python3 "$here/client.py" write "$work/record" 10.78.0.100:10809 & ;;
        *) python3 "$here/client.py" write "$work/record" "${sockets[@]}" & ;;
    esac
    client=$!
    sleep 1.5
    "scenario_$name" >"$work/said" 2>&1 || code=$?
    heal
    steady >>"$work/said" 2>&1 || code=1
    sleep 0.5
    kill -TERM "$client"
    wait "$client" || code=1
    # What it wrote last is on its way to no one any more.
    cluster exec "$primary" hablk wait r0 --for in-sync --timeout 60s >>"$work/said" 2>&1 || code=1
    result=$(python3 "$here/client.py" check "$work/record" "${images[@]}") || code=1
    if [ $code = 0 ]; then
        printf '%-18s %4d s  %s\n' "$name" $((SECONDS - began)) "$result"
        [ -z "${HABLK_EVENTS:-}" ] || cluster events
        return 0
    fi
    printf '%-18s FAILED  %s\n' "$name" "$result"
    cat "$work/said"
    cluster events
    cluster status
    for node in n1 n2; do
        echo "--- $node"
        cluster exec "$node" hablk status r0 2>&1
        tail -n 40 "$CLUSTER_DIR/$node/run/r0.log"
        grep -E 'notice|warning|error|hablk' "$CLUSTER_DIR/$node/var/log/pacemaker/pacemaker.log" | tail -n 30
    done
    return 1
}

prepare || { echo "the volume or its resource cannot be made"; exit 1; }
failed=0
for name in "$@"; do scenario "$name" || failed=1; done
exit $failed
