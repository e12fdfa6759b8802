# Our server against tools that look for faults: h2spec, and a client that pings too often. Sourced by run.sh.

# h2spec_cell LABEL FLAG...: HTTP/2 and HPACK conformance of `meshless serve` with these flags.
h2spec_cell() {
  local label=$1 output=$peers/run/h2spec.txt server last
  shift
  # h2spec opens as many streams as are announced, and one more.
  start "$peers/run/server" "$meshless" serve --listen 127.0.0.1:0 --max-concurrent-streams 100 "$@"
  server=$pid
  await "$peers/run/server" serving "$server" || { row h2spec meshless "$label" - - - - - "failed: the server does not start: $(tail -n 1 "$peers/run/server.err")"; stop_all; return; }
  address=$(address_in "$peers/run/server")
  timeout --foreground 300 "$peers/bin/h2spec" -h "${address%:*}" -p "${address##*:}" >"$output" 2>&1
  last=$(tail -n 1 "$output")
  [[ $last =~ ([0-9]+)\ tests,\ ([0-9]+)\ passed,\ ([0-9]+)\ skipped,\ ([0-9]+)\ failed ]] || last=
  if [[ $last && ${BASH_REMATCH[4]} == 0 ]]; then
    row h2spec meshless "$label" - "${BASH_REMATCH[2]}" 0 - - "passed, ${BASH_REMATCH[3]} skipped"
  else
    row h2spec meshless "$label" - "${BASH_REMATCH[2]:--}" "${BASH_REMATCH[4]:--}" - - "failed: $(grep -m 1 '×' "$output" | cut -c 1-120)"
  fi
  stop "$server"
}

# pings_cell LABEL PERMITTED_EVERY EXPECTED: a grpc-go client that pings every 10 s, and whether the server lets it.
pings_cell() {
  local server client
  start "$peers/run/pinged" "$meshless" serve --listen 127.0.0.1:0 --permit-keepalive-time "$2" --permit-keepalive-without-calls
  server=$pid
  await "$peers/run/pinged" serving "$server" || { row go meshless "$1" - - - - - "failed: the server does not start: $(tail -n 1 "$peers/run/pinged.err")"; stop_all; return; }
  "$peers/bin/pinger" --target "$(address_in "$peers/run/pinged")" --seconds 45 >"$peers/run/pinger" 2>&1
  if grep -q "$3" "$peers/run/pinger"; then
    row go meshless "$1" - - - - - "passed: $(cut -c 1-120 "$peers/run/pinger")"
  else
    row go meshless "$1" - - - - - "failed: $(cut -c 1-120 "$peers/run/pinger")"
  fi
  stop "$server"
}
