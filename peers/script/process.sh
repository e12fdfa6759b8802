# Starts and ends the processes of a cell, and reads what they say. Sourced by run.sh.
# A server lives as long as its stdin is open: when this script dies, however it dies, its servers end.

declare -A input=() # pid → our end of its stdin

# start FILE COMMAND...: runs it in the background, its stdout in FILE; sets `pid`.
start() {
  local output=$1 fifo=$peers/run/stdin fd
  shift
  # Also the output of an earlier server of that name: `await` must not read it.
  rm -f "$fifo" "$output" "$output.err"
  mkfifo "$fifo"
  (
    # A server that held another's stdin open would keep it alive.
    for fd in "${input[@]}"; do exec {fd}>&-; done
    exec "$@" <"$fifo" >"$output" 2>"$output.err"
  ) &
  pid=$!
  exec {fd}>"$fifo"
  input[$pid]=$fd
}

# await FILE PATTERN PID: waits until a line of FILE matches, at most 10 s and not longer than PID lives.
await() {
  local try
  for ((try = 0; try < 200; try++)); do
    grep -q "$2" "$1" 2>/dev/null && return
    kill -0 "$3" 2>/dev/null || break
    sleep 0.05
  done
  grep -q "$2" "$1" 2>/dev/null
}

# stop PID: closes its stdin; a server then prints what it executed, within a second or two.
stop() {
  local fd=${input[$1]} try
  exec {fd}>&-
  unset "input[$1]"
  for ((try = 0; try < 100; try++)); do
    kill -0 "$1" 2>/dev/null || break
    sleep 0.05
  done
  kill -KILL "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

stop_all() {
  local each
  for each in "${!input[@]}"; do stop "$each"; done
}

# number NAME: the number of that name in the JSON on stdin, 0 if there is none.
number() {
  local found
  found=$(tr -d '\n' | grep -o "\"$1\": *[0-9]*" | head -n 1 | grep -o '[0-9]*$')
  echo "${found:-0}"
}

# list NAME: the numbers of the JSON array of that name on stdin, one per line.
list() {
  sed -n "s/.*\"$1\": *\[\([^]]*\)\].*/\1/p" | tr ',' '\n' | grep '[0-9]' || true
}
