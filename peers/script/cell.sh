# One cell of the matrix: three servers whose connections age, one client, and what became of its calls. Sourced by run.sh.

passed=0 failed=0 skipped=0

ROW='%-9s %-9s %-14s %-12s %8s %7s %6s %10s  %s\n'

header() {
  printf "$ROW" client server shape policy ok failed twice rotations result
}

# row CLIENT SERVER SHAPE POLICY OK FAILED TWICE ROTATIONS VERDICT
row() {
  case $9 in
    passed*) ((++passed)) ;;
    skipped*) ((++skipped)) ;;
    *) ((++failed)) ;;
  esac
  printf "$ROW" "$@"
}

# cell CLIENT SERVER SHAPE POLICY
cell() {
  local why addresses=() servers=() index target=
  why=$(incapable "$@") || {
    row "$@" - - - - "skipped: $why"
    return
  }
  for ((index = 1; index <= BACKENDS; index++)); do
    start_server "$2" "$2-$index" 127.0.0.1:0 || {
      row "$@" - - - - "failed: the server does not start: $(tail -n 1 "$output.err")"
      stop_all
      return
    }
    target+=,$address
    servers+=("$pid")
  done
  # A JVM that has just started may need more than a second for its first answers.
  [[ $2 == java ]] && local deadline=10s
  client_command "$1" "ipv4:${target#,}" "$4" "$3"
  rm -f "$peers/run/client"
  timeout --foreground $((seconds + 20)) "${command[@]}" >"$peers/run/client" 2>"$peers/run/client.err" </dev/null
  collect "$2" "$4" "${servers[@]}"
  row "$@" "$ok" "$lost" "$twice" "$rotations" "$(verdict "$1" "$4")"
}

# dns_cell CLIENT: a backend joins the name's answers, then one leaves them and, a while later, stops.
dns_cell() {
  local servers=() index port=0 hosts=$peers/run/hosts name_server label=("$1" "go+dns" unary round_robin) why client
  why=$(incapable "$1" dns unary round_robin) || {
    row "${label[@]}" - - - - "skipped: $why"
    return
  }
  for ((index = 1; index <= BACKENDS; index++)); do
    # One port on three addresses, because a DNS answer carries no port. Linux has all of 127.0.0.0/8.
    start_server go "go-$index" "127.0.0.$((index + 1)):$port" || {
      row "${label[@]}" - - - - "skipped: cannot listen on 127.0.0.$((index + 1)), which Linux has by default"
      stop_all
      return
    }
    port=${address##*:}
    servers+=("$pid")
  done
  answer_with "$hosts" 2 3
  start "$peers/run/dns" "$peers/bin/coredns" --hosts "$hosts"
  name_server=$pid
  await "$peers/run/dns" listening "$name_server"

  # A fixed length: the three steps take their time, however short the other cells are.
  seconds=9 client_command "$1" "dns://$(address_in "$peers/run/dns")/backend.peers.test:$port" round_robin unary
  start "$peers/run/client" timeout 30 "${command[@]}"
  client=$pid
  sleep 2
  answer_with "$hosts" 3 4
  # Beyond the TTL of 1 s and every floor in use here, so that a client had its chance to let go.
  sleep 4
  stop "${servers[0]}"
  for ((index = 0; index < 300; index++)); do
    kill -0 "$client" 2>/dev/null || break
    sleep 0.1
  done
  stop "$client"
  stop "$name_server"
  collect go round_robin "${servers[@]}"
  row "${label[@]}" "$ok" "$lost" "$twice" "$rotations" "$(verdict "$1" round_robin)"
}

# answer_with FILE LAST...: the name's answers are 127.0.0.LAST from now on. The file is replaced in one step.
answer_with() {
  printf '127.0.0.%s backend.peers.test\n' "${@:2}" >"$1.new"
  mv "$1.new" "$1"
}

# start_server KIND NAME LISTEN: sets `pid`, `address` and `output`.
start_server() {
  local plain=(--listen "$3" --name "$2" --service-time-ms "$SERVICE_MS"
    --max-connection-age-ms "$age_ms" --max-connection-age-grace-ms "$GRACE_MS")
  output=$peers/run/$2
  case $1 in
    go) start "$output" "$peers/bin/server" "${plain[@]}" ;;
    python) start "$output" "${python[@]}" "$here/python/server.py" "${plain[@]}" ;;
    node) start "$output" "${node[@]}" "$here/node/server.js" "${plain[@]}" ;;
    java) start "$output" "${java[@]}" peers.Server "${plain[@]}" ;;
    meshless)
      start "$output" "$meshless" serve --control --listen "$3" --name "$2" --service-time "${SERVICE_MS}ms" \
        --max-connection-age "${age_ms}ms" --max-connection-age-grace "${GRACE_MS}ms"
      ;;
  esac
  await "$output" 'listening\|Ready' "$pid" || return 1
  address=$(address_in "$output")
  outputs[$pid]=$output
}

# client_command KIND TARGET POLICY SHAPE: sets `command`.
client_command() {
  local plain=(--target "$2" --policy "$3" --shape "$4" --seconds "$seconds" --in-flight "$IN_FLIGHT")
  case $1 in
    # grpc-go asks DNS at most every 30 s, longer than a cell; nothing but the DNS cell asks.
    go) command=("$peers/bin/client" "${plain[@]}" --dns-floor-ms 1000) ;;
    python) command=("${python[@]}" "$here/python/client.py" "${plain[@]}") ;;
    node) command=("${node[@]}" "$here/node/client.js" "${plain[@]}") ;;
    java) command=("${java[@]}" peers.Client "${plain[@]}") ;;
    meshless)
      command=("$meshless" load --target "$2" --policy "$3" --shape "$4" --seconds "$seconds" --in-flight "$IN_FLIGHT"
        --deadline "${deadline:-1s}" --json)
      ;;
  esac
}

# incapable CLIENT SERVER SHAPE POLICY: says what the lab cannot do yet, and fails; else succeeds.
incapable() {
  local load serve
  load=$("$meshless" load --help 2>&1)
  serve=$("$meshless" serve --help 2>&1)
  if [[ $1 == meshless && $load != *--target* ]]; then
    echo "this build's \`meshless load\` has no --target"
  elif [[ $1 == meshless && $2 == dns && $load != *dns://* ]]; then
    echo "this build's \`meshless load\` does not say that it takes dns:// targets"
  elif [[ $1 == meshless && $load != *"$3"* ]]; then
    echo "this build's \`meshless load\` has no shape $3"
  elif [[ $2 == meshless && $serve != *--control* ]] && ! serves_control; then
    echo "this build's \`meshless serve\` has no --control"
  elif [[ $2 == meshless && $3 != unary && $serve != *StreamService* ]]; then
    echo "this build's \`meshless serve\` does not say that it serves StreamService"
  else
    return 0
  fi
  return 1
}

# collect SERVER POLICY PID...: ends the servers and sums up; sets `ok`, `lost`, `twice`, `rotations`, `executed`, `anonymous`.
collect() {
  local kind=$1 policy=$2 each out connections=0 first
  shift 2
  ok=$(number ok <"$peers/run/client")
  lost=$(number failed <"$peers/run/client")
  twice=0 rotations=0 executed=0 anonymous=0
  for each in "$@"; do
    out=${outputs[$each]}
    if [[ $kind == meshless ]]; then
      echo '"Collect"' >&"${input[$each]}"
      await "$out" Collected "$each"
      executed=$((executed + $(list executed <"$out" | wc -l)))
      twice=$((twice + $(list executed <"$out" | sort | uniq -d | wc -l)))
      rotations=$((rotations + $(list rotations_ns <"$out" | wc -l)))
      stop "$each"
    else
      [[ ${input[$each]:-} ]] && stop "$each"
      executed=$((executed + $(number executed <"$out")))
      twice=$((twice + $(number duplicates <"$out")))
      anonymous=$((anonymous + $(number ids_missing <"$out")))
      connections=$((connections + $(number connections <"$out")))
    fi
  done
  # Every connection after the first one is there because of a rotation: after the client's first one with pick_first, which
  # goes on to another backend each time, else after each backend's.
  [[ $policy == pick_first ]] && first=1 || first=$(backends)
  [[ $kind == meshless ]] || rotations=$((connections > first ? connections - first : 0))
}

# backends: how many answered.
backends() {
  tr -d '\n' <"$peers/run/client" | sed -n 's/.*"backends": *{\([^}]*\)}.*/\1/p' | grep -o ':' | wc -l
}

# verdict CLIENT POLICY
verdict() {
  local note=
  if ! grep -q '"ok"' "$peers/run/client"; then
    echo "failed: the client says nothing: $(tail -n 1 "$peers/run/client.err")"
    return
  fi
  if ((lost > 0)) && [[ $1 == node ]] && only_refused; then
    note=", but grpc-js gave up $lost refused calls (see README.md)"
  elif ((lost > 0)); then
    # The peers' clients say it on stderr, ours in its report.
    echo "failed: $( (grep -m 1 '^first ' "$peers/run/client.err" || grep -o '"errors":.*' "$peers/run/client") | cut -c 1-160)"
    return
  fi
  if ((ok == 0)); then
    echo "failed: no call was made"
  elif ((twice > 0 || executed > ok)); then
    echo "failed: executed $executed times, for $ok calls"
  elif ((anonymous > 0)); then
    echo "failed: $anonymous calls came without meshless-call-id"
  elif [[ $2 == round_robin ]] && (($(backends) < BACKENDS)); then
    echo "failed: $(backends) of $BACKENDS backends were called"
  elif ((rotations == 0)); then
    echo "failed: no connection was rotated, so nothing was shown"
  else
    echo "passed$note"
  fi
}

# only_refused: whether the grpc-js client lost calls in the one way that it loses them against every server, also
# grpc-go: it repeats a refused call once, and when the second connection rotates as well, the call fails. At most 2 %.
only_refused() {
  ((lost * 50 <= ok)) && ! grep '^first ' "$peers/run/client.err" | grep -qv 'UNAVAILABLE: Stream refused by server$'
}

address_in() {
  grep -o '127\.[0-9.]*:[0-9]*' "$1" | head -n 1
}

declare -A outputs=() # pid → what that server printed
python=(env "PYTHONPATH=$peers/python/stubs" PYTHONDONTWRITEBYTECODE=1 "$peers/python/venv/bin/python")
node=(env "NODE_PATH=$peers/node/node_modules" node)
# One compiler thread: four virtual machines on two cores would otherwise spend a short cell on compiling themselves.
java=(java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$peers/java/classes:$peers/java/lib/*")

# `--control` is hidden from the help: an unknown flag is refused before anything runs.
serves_control() {
  ! "$meshless" serve --control </dev/null 2>&1 --listen 127.0.0.1:0 | grep -q 'unexpected argument'
}
