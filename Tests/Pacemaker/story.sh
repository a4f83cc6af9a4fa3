#!/usr/bin/env bash
# Runs inside a cluster (Tools/cluster): the volume, the scenarios named, and what came of them.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/scenarios.sh"
sockets=("$CLUSTER_DIR/n1/run/r0.nbd" "$CLUSTER_DIR/n2/run/r0.nbd")
images=("$CLUSTER_DIR/n1/disk/r0.img" "$CLUSTER_DIR/n2/disk/r0.img")

# With `quorum: majority` n3 is the volume's witness, and a node of the cluster without a disk or, with a qdevice, the machine
# that runs corosync-qnetd.
kind=$1
if [ "$kind" = majority ]; then nodes=(n1 n2 n3); else nodes=(n1 n2); fi
if [ "$kind" = off ]; then machines=(n1 n2); else machines=(n1 n2 n3); fi
shift

configuration() {
    if [ "$kind" != off ]; then
        printf 'volume: r0\nsize: 64MiB\nquorum: majority\nnodes:\n'
        printf '  n3: {id: 2, address: "10.78.1.3:7789", witness: true}\n'
    else
        printf 'volume: r0\nsize: 64MiB\nquorum: off\nfencing: stonith\nfence-command: /usr/lib/hablk/fence\nnodes:\n'
    fi
    cat <<END
  n1: {id: 0, address: "10.78.1.1:7789", disk: /var/lib/hablk/r0.img, nbd: {listen: "0.0.0.0:10809"}}
  n2: {id: 1, address: "10.78.1.2:7789", disk: /var/lib/hablk/r0.img, nbd: {listen: "0.0.0.0:10809"}}
END
}
prepare() {
    local node resources=$here/../../Tools/pacemaker
    for node in "${machines[@]}"; do
        # The tester promotes without a peer and without a resource in the cluster, and no fencing would allow that.
        configuration | grep -v '^fenc' | cluster exec "$node" tee /etc/hablk/r0.yaml >/dev/null
        [ "$node" = n3 ] || cluster exec "$node" hablk create r0 >/dev/null || return
    done
    witness
    cluster exec n1 ocf-tester -n r0 -o volume=r0 -o connect_wait=1 /usr/lib/ocf/resource.d/hablk/hablk >"$work/ocf-tester" 2>&1 ||
        { cat "$work/ocf-tester"; return 1; }
    echo "ocf-tester: $(tail -n 1 "$work/ocf-tester")"
    for node in "${machines[@]}"; do configuration | cluster exec "$node" tee /etc/hablk/r0.yaml >/dev/null; done
    if [ "$kind" != off ]; then
        # A machine that is no node needs no rule that keeps the volume away.
        sed "$([ "$kind" = majority ] && echo s/charlie/n3/ || echo /charlie/d)" "$resources/witness.crm" | cluster exec n1 crm configure load update - || return
    else
        cluster exec n1 crm configure load update - <"$resources/two-nodes.crm" || return
    fi
    sed 's/192\.0\.2\./10.78.0./' "$resources/address.crm" | cluster exec n1 crm configure load update -
}
witness() {  # as its unit would: it runs while its node does
    [ "$kind" != off ] || return 0
    cluster exec n3 pgrep -x hablk >/dev/null ||
        cluster exec n3 sh -c 'setsid hablk witness </dev/null >>/run/hablk/witness.log 2>&1 &'
}
steady() {  # all nodes there, one promoted, both copies in sync
    cluster wait 60 "Online: \[ ${nodes[*]} \]" ' Promoted: \[ n. \]' ' Unpromoted: \[ n. \]' || return
    primary=$(cluster promoted)
    [ -n "$primary" ] || { echo "nobody is promoted any more"; return 1; }
    other=n$((3 - ${primary#n}))
    cluster exec "$primary" hablk wait r0 --for in-sync --timeout 60s >/dev/null
}
well() {  # before a scenario: a resource that failed in being set up is tried again after its failure-timeout of 120 s
    steady && return
    everything
    steady && return
    steady && return
    everything
    return 1
}
heal() {
    local node
    for node in "${machines[@]}"; do
        rm -f "$CLUSTER_DIR/$node/bmc.fail" "$CLUSTER_DIR/$node/bmc.delay"
        cluster plug "$node"
        cluster start "$node"
        cluster thaw "$node"
    done
    witness
}
everything() {  # what the cluster and each node say of themselves, for whoever has to find out why
    local node
    cluster events
    cluster status
    for node in "${nodes[@]}"; do
        echo "--- $node"
        cluster exec "$node" hablk status r0 2>&1
        # What Pacemaker remembers of its actions: one that is pending there (-1) is none that is under way.
        cluster exec "$node" cibadmin --local --query --xpath "//lrm_resource[@id='r0']" 2>&1 |
            grep -o '<lrm_rsc_op.*' | sed -E 's/ (crm-debug-origin|crm_feature_set|transition-[a-z]+|op-digest|op-[a-z]+-[a-z]+)="[^"]*"//g'
        tail -n 40 "$CLUSTER_DIR/$node/run/"*.log
        grep -E 'notice|warning|error|hablk' "$CLUSTER_DIR/$node/var/log/pacemaker/pacemaker.log" | tail -n 60
    done
}
scenario() {  # scenario NAME: one line of the table
    local name=$1 began=$SECONDS client code=0 result
    well || { echo "$name: the cluster is not well before it" | tee -a "$work/failed"; return 1; }
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
    {
        printf '\n%s FAILED  %s\n' "$name" "$result"
        tail -n 20 "$work/said"
        cluster events | tail -n 30
    } >>"$work/failed"
    everything
    return 1
}

prepare || { echo "the volume or its resource cannot be made"; exit 1; }
failed=0
for name in "$@"; do scenario "$name" || failed=1; done
exit $failed
