# The scenarios. Each begins with $first promoted, $second following, and a client that writes; it ends with a cluster that
# heals by itself once all cables are in and all nodes have power. A function that fails is a scenario that failed.
every=(killed crashed frozen process daemon-stopped secondary-killed partition isolated-primary storage-link link-lost
    cluster-link unfenced unfenced-apart apart-then-killed address-killed address-moved flapping standby moved frozen-stop failing-promote broken-fence
    power-loss rolling fence meta-data probe drill drill-apart runbook-disk runbook-node runbook-split-brain
    majority-killed majority-frozen majority-isolated-primary majority-unfenced majority-secondary-lost majority-storage-link
    majority-on-witness majority-witness-lost majority-no-quorum majority-power-loss majority-rolling
    qdevice-killed qdevice-isolated-primary qdevice-witness-lost qdevice-alone)
choice=(address-killed frozen process secondary-killed partition isolated-primary link-lost unfenced apart-then-killed
    flapping standby frozen-stop failing-promote power-loss rolling fence meta-data probe drill runbook-disk
    majority-killed majority-isolated-primary majority-unfenced majority-storage-link majority-on-witness majority-witness-lost
    majority-no-quorum majority-power-loss qdevice-killed qdevice-isolated-primary qdevice-witness-lost)

expect() { [ "$1" = "$2" ] || { echo "expected $2, found $1"; return 1; }; }
calm() {  # nobody was fenced, nothing failed
    ! cluster events | grep -E 'fence device: (reboot|off)|(promote|demote|stop|start) on n.: .*\([1-9][0-9]*,'
}
promoted_on() { cluster seen "$1" "r0 promote on $2: ok"; }

# --- Nodes and processes

scenario_killed() {  # power cut of the primary's node
    cluster kill "$first"
    promoted_on 40 "$second"
}
scenario_crashed() {  # all its processes end, the network says so
    cluster crash "$first"
    promoted_on 40 "$second"
}
scenario_frozen() {  # the node stands still; it must not go on when it is let
    cluster freeze "$first"
    promoted_on 40 "$second" && cluster seen 1 "fence device: reboot $first done"
}
scenario_process() {  # kill -9 of the primary's daemon: nobody is fenced
    cluster exec "$first" sh -c 'kill -KILL $(cat /run/hablk/r0.pid)'
    cluster seen 30 "r0 promote on n.: ok" && ! cluster events | grep 'fence device'
}
scenario_daemon-stopped() {  # the daemon hangs: the monitor finds it, stop ends it
    cluster exec "$first" sh -c 'kill -STOP $(cat /run/hablk/r0.pid)'
    cluster seen 60 "r0 promote on n.: ok" && ! cluster events | grep 'fence device'
}
scenario_secondary-killed() {  # writers go on once the cluster says that it is off, before the storage's own time
    cluster kill "$second"
    cluster seen 40 "fence device: reboot $second done"
    cluster exec "$first" hablk wait r0 --for primary --timeout 1s && expect "$(cluster promoted)" "$first" || return
    is_serving
}

# --- Cables

scenario_partition() {  # both cables of the primary: it is the one that stays, and fences
    cluster unplug "$first" both
    cluster seen 40 "fence device: reboot $second done" && expect "$(cluster promoted)" "$first"
}
scenario_isolated-primary() {  # the same, but the other one fences: nothing was acknowledged that it lacks
    : >"$CLUSTER_DIR/$second/bmc.fail"
    cluster unplug "$first" both
    cluster seen 60 "fence device: reboot $first done" && promoted_on 20 "$second"
}
scenario_storage-link() {  # only replication, for less than `timeout`: writers wait, nothing else happens
    cluster unplug "$first" storage
    sleep 4
    cluster plug "$first" storage
    sleep 1
    calm && expect "$(cluster promoted)" "$first" && [ -z "$(rule)" ]
}
scenario_link-lost() {  # for longer: the other one is barred, then writers go on; then it is copied
    cluster unplug "$first" storage
    sleep 9
    rule | grep -q "value=\"$first\"" || { echo "nobody is barred"; return 1; }
    is_serving
    local code=$?
    cluster plug "$first" storage
    lifted && calm && expect "$(cluster promoted)" "$first" && [ $code = 0 ]
}
rule() { cluster exec "$first" cibadmin --query --xpath "//rsc_location[@id='hablk-fence-r0']" 2>/dev/null; }
lifted() {  # once the copies are in step
    cluster exec "$first" hablk wait r0 --for in-sync --timeout 30s >/dev/null || return
    local end=$((SECONDS + 15))
    while [ -n "$(rule)" ]; do
        [ $SECONDS -lt $end ] || { echo "the rule is not lifted"; return 1; }
        sleep 0.5
    done
}
is_serving() {  # the primary without its peer: its record names it alone
    local end=$((SECONDS + 10))
    until cluster exec "$first" hablk status r0 --json | grep -q "\"in-step\": *\[\"$first\"\]"; do
        [ $SECONDS -lt $end ] || { echo "$first waits for $second still"; return 1; }
        sleep 0.2
    done
}
scenario_cluster-link() {  # only the cluster's: replication lives until one is fenced
    cluster unplug "$first" cluster
    cluster seen 40 'fence device: reboot n. done'
}
fence_command() {  # fence_command fails|works [always]: on $first, when the volume calls it, or whoever does
    local command=/usr/lib/hablk/fence
    case $1 in
        fails) cluster exec "$first" sh -c "mv $command $command.real
            printf '#!/bin/sh\n[ -z \"\${HABLK_NODE:-${2:-}}\" ] || exit 1\nexec $command.real \"\$@\"\n' >$command; chmod 755 $command" ;;
        works) cluster exec "$first" mv $command.real $command ;;
    esac
}
scenario_unfenced() {  # the volume's own command fails: that the cluster has ended the other one lets writers go on
    fence_command fails
    cluster kill "$second"
    cluster seen 40 "fence device: reboot $second done" && is_serving && rule | grep -q "value=\"$first\""
    local code=$?
    fence_command works
    return $code
}
scenario_unfenced-apart() {  # nobody can be barred, and nobody is off: writers wait until the other one is back
    fence_command fails always
    cluster unplug "$first" storage
    sleep 12
    cluster exec "$first" hablk status r0 | tee /dev/stderr | grep -q fencing && [ -z "$(rule)" ]
    local code=$?
    cluster plug "$first" storage
    fence_command works
    cluster exec "$first" hablk wait r0 --for in-sync --timeout 30s && calm && expect "$(cluster promoted)" "$first" &&
        [ $code = 0 ]
}
scenario_apart-then-killed() {  # it wrote alone, and then its node died: the other one must not take over what it lacks
    cluster exec "$first" hablk disconnect r0 --peer "$second" >/dev/null
    sleep 2
    rule | grep -q "value=\"$first\"" || { echo "nobody is barred"; return 1; }
    cluster kill "$first"
    cluster seen 40 "fence device: reboot $first done" && cluster seen 40 "r0 promote on n.: ok" || return
    # Only with the copy that has it all.
    cluster events | grep -E "r0 (start on $first|promote on n.): ok" | head -n 1 | grep start && lifted
}
scenario_flapping() {  # both, ten times; whether the cluster takes the node for lost is its own affair
    local turn
    for turn in {1..10}; do
        cluster unplug "$first"
        sleep 0.3
        cluster plug "$first"
        sleep 0.5
    done
}

# --- Clients out there, over TCP to the virtual address

scenario_address-killed() { scenario_killed && cluster seen 20 "r0-address start on $second: ok"; }
scenario_address-moved() { scenario_moved; }

# --- Administrators

# `crm node` (crmsh) writes back the whole of what it read before: a result of an action that came meanwhile is lost, and
# Pacemaker says "Promoting" until it asks again after the failure-timeout.
standby() { cluster exec "$1" crm_standby --node "$1" --update "$2"; }

scenario_standby() {
    standby "$first" on
    promoted_on 20 "$second"
    standby "$first" off
    cluster wait 20 'Unpromoted: \[ n. \]' && calm
}
scenario_moved() {
    cluster exec "$first" crm_resource --resource r0-clone --move --promoted --node "$second"
    promoted_on 20 "$second"
    cluster exec "$first" crm_resource --resource r0-clone --clear
    calm
}
scenario_frozen-stop() {  # a primary whose writers wait for its peer is demoted and stopped all the same
    cluster unplug "$first" storage
    sleep 2
    standby "$first" on
    cluster seen 30 "r0 stop on $first: ok"
    local code=$?
    cluster plug "$first" storage
    standby "$first" off
    [ $code = 0 ] && ! cluster events | grep 'fence device'
}
scenario_failing-promote() {  # the other cannot: the role comes back
    cluster exec "$second" sh -c 'mv /usr/sbin/hablk /usr/sbin/hablk.real
        printf "#!/bin/sh\n[ \"\$1\" != promote ] || { echo \"refused: a test (test)\" >&2; exit 3; }\nexec hablk.real \"\$@\"\n" >/usr/sbin/hablk
        chmod 755 /usr/sbin/hablk'
    cluster exec "$first" crm_resource --resource r0-clone --move --promoted --node "$second"
    cluster seen 20 "r0 promote on $second: .*\(1,"
    local code=$?
    cluster exec "$second" mv /usr/sbin/hablk.real /usr/sbin/hablk
    cluster exec "$first" crm_resource --resource r0-clone --clear
    cluster seen 30 "r0 promote on n.: ok" && [ $code = 0 ] && ! cluster events | grep 'fence device'
}
scenario_broken-fence() {  # nobody is promoted before the fencing succeeded
    : >"$CLUSTER_DIR/$first/bmc.fail"
    cluster kill "$first"
    cluster seen 40 "fence device: reboot $first FAILED" || return
    sleep 2
    cluster events | grep "r0 promote on $second: ok" && return 1
    rm "$CLUSTER_DIR/$first/bmc.fail"
    promoted_on 30 "$second"
}
scenario_power-loss() {  # everything, at once
    cluster kill "$first" & cluster kill "$second"
    wait $!
    sleep 1
    cluster start "$second"
    cluster start "$first"
    cluster seen 60 'r0 promote on n.: ok'
}
scenario_rolling() {  # every node is restarted in turn
    local node
    for node in "$first" "$second"; do
        cluster stop "$node"
        cluster start "$node"
        cluster wait 40 "Online: \[ ${nodes[*]} \]" ' Promoted: \[ n. \]' ' Unpromoted: \[ n. \]' || return
        cluster exec "$(cluster promoted)" hablk wait r0 --for in-sync --timeout 30s >/dev/null || return
    done
    calm
}
scenario_fence() {  # the fence commands: what they answer, what they leave behind, and that they end
    local fence=/usr/lib/hablk/fence began
    says() {  # says CODE NODE COMMAND…
        local wanted=$1 node=$2 code
        shift 2
        cluster exec "$node" timeout 40 "$@" >/dev/null 2>&1
        code=$?
        [ $code = "$wanted" ] || { echo "$node: $*: $code, expected $wanted"; return 1; }
    }
    # Without Pacemaker, for a volume that is no resource, and with words that are none.
    "$here/../../Tools/fence/fence" r0 "$second" 2>/dev/null
    expect $? 1 && says 1 "$first" $fence r7 "$second" && says 64 "$first" $fence && says 64 "$first" $fence 'r0"' || return
    says 1 "$first" $fence r0 "$second" || return
    [ -z "$(rule)" ] || { echo "barred, although the copies are together"; return 1; }
    cluster unplug "$second" storage
    cluster exec "$first" hablk wait r0 --for disconnected --timeout 10s >/dev/null || return
    says 4 "$first" $fence r0 "$second" && rule | grep -q "value=\"$first\"" && says 4 "$first" $fence r0 "$second" &&
        says 6 "$second" $fence r0 "$first" && says 1 "$first" $fence --lift-in-step r0 &&
        says 0 "$second" $fence --lift-in-step r0 && rule | grep -q "value=\"$first\"" || return
    # A lift that is late, on a machine that is slow: what it looked at is not what it finds.
    cluster exec "$first" sh -c "mkdir /run/slow && printf '#!/bin/sh\nsleep 3\necho primary 10000 together primary\n' >/run/slow/hablk &&
        chmod 755 /run/slow/hablk && PATH=/run/slow:\$PATH timeout 20 $fence --lift-in-step r0" >/dev/null 2>&1 &
    local late=$!
    sleep 1
    says 4 "$first" $fence r0 "$second"
    local code=$?
    wait $late
    expect "$code $?" "0 0" && rule | grep -q "value=\"$first\"" || { echo "a late lift removed a newer rule"; return 1; }
    says 0 "$second" $fence --lift r0 && says 0 "$first" $fence --lift r0 || return
    cluster plug "$second" storage
    steady && sleep 2
    [ -z "$(rule)" ] || { echo "the rule stays"; return 1; }
    # Its half of the cluster is about to lose: it must not leave a rule that names it.
    : >"$CLUSTER_DIR/$second/bmc.fail"
    cluster unplug "$first" cluster
    cluster seen 20 "$second is lost" && began=$SECONDS || return
    says 1 "$first" env HABLK_FENCE_TIMEOUT=3 $fence r0 "$second" && [ $((SECONDS - began)) -lt 15 ] || return
    cluster seen 40 "fence device: reboot $first done" || return
    rm "$CLUSTER_DIR/$second/bmc.fail"
    cluster plug "$first" cluster
    steady || return
    says 1 "$primary" /usr/lib/hablk/fence-stonith r0 "$primary" && says 1 "$primary" /usr/lib/hablk/fence-stonith r7 "$other" &&
        says 7 "$primary" /usr/lib/hablk/fence-stonith r0 "$other"
}
scenario_meta-data() {  # by the schemas of OCF 1.0, which Debian has, and what 1.1 adds for who speaks it
    local agent=$here/../../Tools/ocf/hablk
    "$agent" meta-data >"$work/metadata" 2>"$work/errors" && [ ! -s "$work/errors" ] &&
        (cd /usr/share/resource-agents && xmllint --noout --valid - <"$work/metadata") &&
        ! grep reload-agent "$work/metadata" &&
        OCF_RA_VERSION_MINOR=1 "$agent" meta-data | grep -q '<action name="reload-agent"' &&
        cluster exec "$first" crm_resource --show-metadata ocf:hablk:hablk | xmllint --noout - &&
        cluster exec "$first" crm_resource --validate --resource r0
}
scenario_probe() {  # what the agent says to Pacemaker in each state, and what it does without a daemon
    local agent=(env OCF_ROOT=/usr/lib/ocf OCF_RESKEY_volume=r9 OCF_RESKEY_CRM_meta_timeout=20000
        OCF_RESKEY_CRM_meta_interval=0 OCF_RESOURCE_INSTANCE=r9 OCF_RESKEY_connect_wait=0)
    local ocf=/usr/lib/ocf/resource.d/hablk/hablk code
    says() {  # says CODE ACTION [VARIABLE=VALUE]…
        local wanted=$1 action=$2
        shift 2
        cluster exec "$second" "${agent[@]}" "$@" "$ocf" "$action" >/dev/null 2>&1
        code=$?
        [ $code = "$wanted" ] || { echo "$action $*: $code, expected $wanted"; return 1; }
    }
    says 7 monitor && says 5 start && says 0 stop && says 7 demote && says 3 nonsense && says 5 validate-all &&
        says 6 start OCF_RESKEY_volume= && says 0 stop OCF_RESKEY_volume= && says 6 start OCF_RESKEY_volume=../x &&
        says 7 monitor OCF_RESKEY_hablk=/nowhere/hablk && says 5 start OCF_RESKEY_hablk=/nowhere/hablk || return
    cluster exec "$second" tee /etc/hablk/r9.yaml >/dev/null <<END
volume: r9
size: 16MiB
quorum: off
nodes:
  n1: {id: 0, address: "10.78.1.1:7790", disk: /var/lib/hablk/r9.img}
  n2: {id: 1, address: "10.78.1.2:7790", disk: /var/lib/hablk/r9.img}
END
    says 1 start && cluster exec "$second" hablk create r9 >/dev/null && says 0 validate-all && says 7 monitor &&
        says 0 start && says 0 monitor && says 0 promote && says 8 monitor && says 0 promote && says 0 reload-agent &&
        says 0 demote && says 0 monitor && says 0 stop && says 7 monitor || return
    # A daemon that stands still: it runs, and does not answer. Then a stop that must not wait for it.
    says 0 start && says 0 promote OCF_RESKEY_CRM_meta_timeout=60000 || return
    cluster exec "$second" sh -c 'kill -STOP $(cat /run/hablk/r9.pid)'
    says 9 monitor OCF_RESKEY_CRM_meta_interval=10000 && says 0 stop && says 7 monitor
}

# --- With a witness: n3 votes, and the volume has its own quorum

scenario_majority-killed() { scenario_killed; }
scenario_majority-frozen() { scenario_frozen; }
scenario_majority-power-loss() {
    cluster kill n3
    scenario_power-loss && cluster start n3
    witness
}
scenario_majority-rolling() { scenario_rolling; }
scenario_majority-isolated-primary() {  # its half has no quorum; the other promotes once the slow fence device is done
    echo 5 >"$CLUSTER_DIR/$first/bmc.delay"
    cluster unplug "$first" both
    promoted_on 60 "$second" || return
    cluster events | grep -E "fence device: reboot $first done|r0 promote on $second: ok" | head -n 1 | grep "fence device"
}
scenario_majority-unfenced() {  # without any fencing: the volume alone keeps the cut off half from acknowledging
    cluster exec "$first" crm configure property stonith-enabled=false
    cluster unplug "$first" both
    promoted_on 60 "$second"
    local code=$?
    sleep 2
    cluster plug "$first" both
    cluster wait 30 "Online: \\[ ${nodes[*]} \\]" && sleep 2
    cluster exec "$second" crm configure property stonith-enabled=true
    [ $code = 0 ] && ! cluster events | grep 'fence device'
}
scenario_majority-secondary-lost() {  # nothing waits for fencing: the witness is enough
    cluster kill "$second"
    cluster seen 40 "fence device: reboot $second done" && expect "$(cluster promoted)" "$first"
}
scenario_majority-storage-link() {  # the primary's: the others have quorum, so the role goes there, and nobody is fenced
    cluster unplug "$first" storage
    promoted_on 40 "$second" && ! cluster events | grep 'fence device'
}
scenario_majority-on-witness() {  # Pacemaker looks for the volume where it only has a witness, and must leave that alone
    local agent=(env OCF_ROOT=/usr/lib/ocf OCF_RESKEY_volume=r0 OCF_RESKEY_CRM_meta_interval=0 OCF_RESOURCE_INSTANCE=r0
        /usr/lib/ocf/resource.d/hablk/hablk)
    cluster exec n3 "${agent[@]}" monitor
    expect $? 7 || return
    cluster exec n3 "${agent[@]}" start
    expect $? 5 && cluster exec n3 "${agent[@]}" stop && cluster exec n3 hablk wait r0 --for running --timeout 0 &&
        cluster exec "$first" hablk quorum r0 | tee /dev/stderr | grep -q '3 of 3 votes' && calm
}
scenario_majority-witness-lost() {  # nothing happens to clients
    cluster kill n3
    cluster seen 40 "fence device: reboot n3 done" && expect "$(cluster promoted)" "$first"
}
scenario_majority-no-quorum() {  # the witness and the link to the other copy: writers wait, and go on when the witness is back
    cluster exec n3 sh -c 'kill -KILL $(pgrep -x hablk)'
    sleep 1
    cluster unplug "$second" storage
    sleep 5
    expect "$(cluster promoted)" "$first" || return
    cluster exec "$first" hablk status r0 --json | grep -q '"quorum": *false' || { echo "it has quorum"; return 1; }
    witness
    cluster exec "$first" hablk wait r0 --for quorum --timeout 20s && ! cluster events | grep 'fence device'
}

# --- With a machine that is no node: corosync-qnetd, and the volume's witness

scenario_qdevice-killed() { scenario_killed; }
scenario_qdevice-isolated-primary() { scenario_majority-isolated-primary; }
arbiter() {  # arbiter Connected|Connecting: what each node's qdevice says
    local node end=$((SECONDS + 30))
    for node in "${nodes[@]}"; do
        until cluster exec "$node" timeout 5 corosync-qdevice-tool -s | grep -q "^State:[[:space:]]*$1\$"; do
            [ $SECONDS -lt $end ] || { echo "$node: not $1 to corosync-qnetd"; return 1; }
            sleep 0.5
        done
    done
}
scenario_qdevice-witness-lost() {  # nothing happens to clients, nor when it is back
    arbiter Connected || return
    cluster kill n3
    arbiter Connecting
    local code=$?
    cluster start n3
    witness
    arbiter Connected && calm && expect "$(cluster promoted)" "$first" && [ $code = 0 ]
}
scenario_qdevice-alone() {  # and then the primary's node: the one left has no quorum until the machine is back
    cluster kill n3
    arbiter Connecting
    cluster kill "$first"
    sleep 8
    cluster events | grep -E "promote on $second: ok|fence device" && return 1
    cluster start n3
    witness
    promoted_on 60 "$second" && cluster seen 1 "fence device: reboot $first done"
}

# --- Drills

passed() {  # passed HABLK…: a report that says so
    "$@" >"$work/report" 2>&1
    local code=$?
    cat "$work/report"
    [ $code = 0 ] && grep -q '^result *passed' "$work/report"
}
scenario_drill() {  # on the cluster in use, its clients writing; and those that must not be done to it
    counted() { grep -E '^lost *0 of [1-9][0-9]* ' "$work/report" || { echo "no lost writes are counted"; return 1; }; }
    passed cluster exec "$second" hablk drill r0 --scenario switch-over --yes --report /root/drill.txt \
        --write-area 60MiB+4MiB && counted &&
        cluster exec "$second" cmp /root/drill.txt - <"$work/report" &&
        cmp -n $((4 << 20)) -i $((60 << 20)):0 "$CLUSTER_DIR/$second/disk/r0.img" /dev/zero && steady &&
        passed cluster exec "$first" hablk drill r0 --scenario primary-crash --yes --write-area 60MiB+4MiB && counted &&
        cluster seen 1 "fence device: reboot $second done" && steady &&
        passed cluster exec "$other" hablk drill r0 --scenario switch-over --yes || return
    refused() {  # refused REASON NODE COMMAND…
        cluster exec "${@:2}" >"$work/report" 2>&1
        [ $? = 3 ] && grep -q "($1)" "$work/report" || { cat "$work/report"; return 1; }
    }
    steady && refused not-the-successor "$primary" hablk drill r0 --scenario switch-over --yes &&
        refused not-confirmed "$other" hablk drill r0 --scenario switch-over </dev/null &&
        refused only-throw-away "$other" hablk drill r0 --scenario link-cut --yes &&
        refused not-empty "$other" hablk drill r0 --scenario switch-over --yes --write-area 0+4MiB &&
        refused out-of-range "$other" hablk drill r0 --scenario switch-over --yes --write-area 62MiB+4MiB &&
        refused no-way-to-write "$other" hablk drill r0 --scenario switch-over --yes --write-area 60MiB+4MiB --nbd "$primary:1"
}
scenario_drill-apart() {  # with nodes of its own, and no cluster
    local name
    for name in switch-over primary-crash link-cut isolated-primary witness-loss; do
        passed "$here/../../.build/release/hablk" drill --scenario $name || return
    done
}

# --- The runbooks of Tools/pacemaker/README.md, command by command

scenario_runbook-disk() {  # the primary's disk is replaced while clients write
    cluster exec "$first" hablk detach r0 --force
    sleep 1
    cluster exec "$first" hablk status r0
    standby "$first" on && promoted_on 20 "$second" || return
    cluster exec "$first" hablk wait r0 --for stopped --timeout 20s || return
    cluster exec "$first" rm /var/lib/hablk/r0.img
    cluster exec "$first" hablk create r0 && standby "$first" off || return
    cluster wait 20 'Unpromoted: \[ n. \]' && cluster exec "$first" hablk wait r0 --for in-sync --timeout 30s
}
scenario_runbook-node() {  # a machine of the same name with nothing on it
    # What a late fence command left would keep the other one from being promoted.
    local wait
    for wait in 1 2 3; do
        standby "$second" on && cluster exec "$second" hablk wait r0 --for stopped --timeout 20s &&
            standby "$second" off && steady && sleep $wait || return
    done
    cluster stop "$first" && promoted_on 20 "$second" || return
    rm -f "$CLUSTER_DIR/$first/disk/r0.img" "$CLUSTER_DIR/$first/etc/hablk/r0.yaml"
    cluster start "$first" || return
    # Its copy is missing still: Pacemaker cannot start it there, and says why.
    cluster seen 30 "r0 start on $first: .*(not installed|not configured|error)" || return
    cluster exec "$second" cat /etc/hablk/r0.yaml | cluster exec "$first" tee /etc/hablk/r0.yaml >/dev/null
    cluster exec "$first" hablk create r0 && cluster exec "$first" crm resource cleanup r0-clone || return
    cluster wait 20 'Unpromoted: \[ n. \]' && cluster exec "$first" hablk wait r0 --for in-sync --timeout 30s
}
scenario_runbook-split-brain() {  # both went on alone, because an administrator forced it
    cluster exec "$first" crm configure property maintenance-mode=true
    cluster exec "$first" hablk disconnect r0
    sleep 1
    cluster exec "$second" hablk promote r0 --force --timeout 10s || return
    # Its writes wait for the fence command, which finds that $first holds the right; he lies to it.
    cluster exec "$second" hablk promote r0 --peer-fenced "$first" --timeout 10s || return
    cluster exec "$second" timeout 20 python3 - <<'END' || return
import socket, struct
s = socket.socket(socket.AF_UNIX)
s.connect("/run/hablk/r0.nbd")
take = lambda n: s.recv(n, socket.MSG_WAITALL)
take(18)
s.sendall(struct.pack(">I", 3) + struct.pack(">QII", 0x49484156454F5054, 1, 2) + b"r0")
take(10)
s.sendall(struct.pack(">IIQQI", 0x25609513, 1, 7, 0, 4096) + b"x" * 4096)
assert struct.unpack(">IIQ", take(16))[1] == 0
END
    cluster exec "$second" hablk connect r0 --timeout 5s
    cluster exec "$first" hablk connect r0 --timeout 5s
    cluster exec "$second" hablk status r0
    cluster exec "$second" hablk status r0 --json | grep -q '"split-brain"' || { echo "no split brain"; return 1; }
    # The loser is $second.
    cluster exec "$second" hablk demote r0 --force &&
        cluster exec "$second" hablk connect r0 --discard-my-data --dry-run &&
        cluster exec "$second" hablk connect r0 --discard-my-data &&
        cluster exec "$second" hablk wait r0 --for in-sync --timeout 30s || return
    cluster exec "$first" crm configure property maintenance-mode=false
    cluster exec "$first" crm resource cleanup r0-clone
    expect "$(cluster promoted)" "$first"
}
