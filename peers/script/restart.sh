# A rolling restart of three meshless servers under load, one at a time, as a Deployment does it. Sourced by run.sh.
#
# A pod leaves the entrance in the moment in which it gets SIGTERM, as its endpoint leaves a Service. The entrance is either a virtual
# address (HAProxy in TCP mode, which like kube-proxy chooses a pod per connection and leaves connections alone that stand),
# or a name that CoreDNS answers with one record per pod.

# Alone in 127.0.0.0/8, so that every pod has the same port, as a headless Service wants it.
RESTART_NET=127.$((RANDOM % 200 + 20)).$((RANDOM % 250 + 1))
RESTART_PORT=50051
DRAIN_S=5

# restart_cell CLIENT vip|dns LAME_DUCK_SECONDS
restart_cell() {
  local client_kind=$1 entrance=$2 lame_duck=$3 pods=() pod client target index length
  local row=("$1" meshless "restart by $2" "lame duck ${3}s")
  length=$((2 + 3 * (lame_duck + 3) + 4))
  for index in 1 2 3; do
    start_pod "$index" || { row "${row[@]}" - - - - "failed: the server does not start: $(tail -n 1 "$peers/run/pod-$index.err")"; stop_all; return; }
    pods[index]=$pid
  done
  open_"$entrance" || { row "${row[@]}" - - - - "skipped: the entrance does not open"; stop_all; return; }
  seconds=$length client_command "$client_kind" "$target" round_robin unary
  # As users have it: 30 s between two questions to DNS.
  [[ $client_kind == go ]] && command+=(--dns-floor-ms 30000)
  start "$peers/run/client" timeout --foreground $((length + 20)) "${command[@]}"
  client=$pid
  sleep 2
  for index in 1 2 3; do
    start_pod $((index + 3))
    pods[index + 3]=$pid
    members "$entrance" $(seq $((index + 1)) $((index + 3)))
    kill -TERM "${pods[index]}"
    while kill -0 "${pods[index]}" 2>/dev/null; do sleep 0.1; done
    sleep 1
  done
  wait "$client" 2>/dev/null
  ok=$(number ok <"$peers/run/client") lost=$(number failed <"$peers/run/client")
  if ((ok == 0)); then
    row "${row[@]}" "$ok" "$lost" - - "failed: no call was made: $(tail -n 1 "$peers/run/client.err")"
  elif ((lost > 0)); then
    row "${row[@]}" "$ok" "$lost" - - "failed: $(grep -m 1 '^first ' "$peers/run/client.err" | cut -c 1-120)"
  else
    row "${row[@]}" "$ok" "$lost" - - passed
  fi
  stop_all
}

# start_pod INDEX: sets `pid`.
start_pod() {
  start "$peers/run/pod-$1" "$meshless" serve --listen "$RESTART_NET.$1:$RESTART_PORT" --name "pod-$1" --service-time "${SERVICE_MS}ms" \
    --max-connection-age 60s --max-connection-age-grace 5s --lame-duck "${lame_duck}s" --drain-timeout "${DRAIN_S}s"
  for ((try = 0; try < 100; try++)); do
    (exec 3<>"/dev/tcp/$RESTART_NET.$1/$RESTART_PORT") 2>/dev/null && return
    kill -0 "$pid" 2>/dev/null || return 1
    sleep 0.05
  done
  return 1
}

open_dns() {
  members dns 1 2 3
  start "$peers/run/dns" "$peers/bin/coredns" --hosts "$peers/run/hosts"
  await "$peers/run/dns" listening "$pid" || return 1
  target=dns://$(address_in "$peers/run/dns")/backend.peers.test:$RESTART_PORT
}

open_vip() {
  local index
  {
    printf 'global\n  stats socket ipv4@%s.200:9999 level admin\ndefaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1h\n  timeout server 1h\n' "$RESTART_NET"
    printf 'listen service\n  bind %s.100:%s\n  balance random\n' "$RESTART_NET" "$RESTART_PORT"
    for index in 1 2 3 4 5 6; do
      printf '  server pod-%s %s.%s:%s%s\n' "$index" "$RESTART_NET" "$index" "$RESTART_PORT" "$( ((index > 3)) && echo ' disabled')"
    done
  } >"$peers/run/haproxy.cfg"
  start "$peers/run/haproxy" haproxy -db -f "$peers/run/haproxy.cfg"
  for ((try = 0; try < 100; try++)); do
    (exec 3<>"/dev/tcp/$RESTART_NET.100/$RESTART_PORT") 2>/dev/null && target=ipv4:$RESTART_NET.100:$RESTART_PORT && return
    sleep 0.05
  done
  return 1
}

# members vip|dns INDEX...: these pods and no others take new connections.
members() {
  local index
  if [[ $1 == dns ]]; then
    printf "$RESTART_NET.%s backend.peers.test\n" "${@:2}" >"$peers/run/hosts.new"
    mv "$peers/run/hosts.new" "$peers/run/hosts"
    return
  fi
  for index in 1 2 3 4 5 6; do
    [[ " ${*:2} " == *" $index "* ]] && haproxy_says "set server service/pod-$index state ready" || haproxy_says "set server service/pod-$index state maint"
  done
}

haproxy_says() {
  exec 4<>"/dev/tcp/$RESTART_NET.200/9999"
  echo "$1" >&4
  cat <&4 >/dev/null
  exec 4>&-
}
