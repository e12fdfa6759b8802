# Our server against tools that look for faults: h2spec, and a client that pings too often. Sourced by run.sh.

# h2spec_cell LABEL FLAG...: HTTP/2 and HPACK conformance of `meshless serve` with these flags.
h2spec_cell() {
  local label=$1 output=$peers/run/h2spec.txt server last aged ok lost excused verdict
  shift
  # h2spec opens as many streams as are announced, and one more.
  serve_for "$label" --service-time 0ms --max-concurrent-streams 100 "$@" || return
  timeout --foreground 300 "$peers/bin/h2spec" -h "${address%:*}" -p "${address##*:}" >"$output" 2>&1
  echo '"Collect"' >&"${input[$server]}"
  await "$peers/run/served" Collected "$server"
  aged=$(list rotations_ns <"$peers/run/served" | wc -l)
  stop "$server"
  last=$(tail -n 1 "$output" | tr -d '\0')
  [[ $last =~ ([0-9]+)\ tests,\ ([0-9]+)\ passed,\ ([0-9]+)\ skipped,\ ([0-9]+)\ failed ]] || {
    row h2spec meshless "$label" - - - - - "failed: h2spec did not end: $last"
    return
  }
  ok=${BASH_REMATCH[2]} lost=${BASH_REMATCH[4]} verdict="passed, ${BASH_REMATCH[3]} skipped"
  # h2spec judges by the last frame that it saw; the two of a graceful shutdown may come in between, at any time.
  excused=$(grep -a -A 8 '^ *× ' "$output" | grep -a 'Actual: ' | grep -ac "$GRACEFUL_SHUTDOWN")
  if ((lost > 0 && lost == excused)); then
    verdict+=", $lost met by the shutdown's PING or GOAWAY"
  elif ((lost > 0)); then
    verdict="failed: $(grep -a -m 1 '^ *× ' "$output" | cut -c 1-120)"
  fi
  [[ "$*" == *--max-connection-age* ]] && ((aged == 0)) && verdict="failed: no connection aged, so nothing was shown"
  row h2spec meshless "$label" - "$ok" "$lost" - "$aged" "$verdict"
}

GRACEFUL_SHUTDOWN='Actual: \(PING Frame (\{1,2\}length:8, flags:0x00\|GOAWAY Frame (.*NO_ERROR\)'

# pings_cell LABEL PERMITTED_EVERY EXPECTED: a grpc-go client that pings every 10 s, and whether the server lets it.
pings_cell() {
  local server
  serve_for "$1" --permit-keepalive-time "$2" --permit-keepalive-without-calls || return
  "$peers/bin/pinger" --target "$address" --seconds 45 >"$peers/run/pinger" 2>&1
  if grep -q "$3" "$peers/run/pinger"; then
    row go meshless "$1" - - - - - "passed: $(tail -n 1 "$peers/run/pinger" | cut -c 1-120)"
  else
    row go meshless "$1" - - - - - "failed: $(cut -c 1-120 "$peers/run/pinger")"
  fi
  stop "$server"
}

# serve_for LABEL FLAG...: one `meshless serve` with these flags; sets `server` and `address`.
serve_for() {
  local output=$peers/run/served
  start "$output" "$meshless" serve --control --listen 127.0.0.1:0 "${@:2}"
  server=$pid
  if ! await "$output" Ready "$server"; then
    row - meshless "$1" - - - - - "failed: the server does not start: $(tail -n 1 "$output.err")"
    stop_all
    return 1
  fi
  address=$(address_in "$output")
}
