#!/usr/bin/env bash
# Runs meshless against gRPC peers and a DNS server that nobody here wrote, and prints what was lost. See README.md.
set -uo pipefail

usage() {
  cat <<'TEXT'
usage: peers/run.sh [--short] [--only go,python,node,java,dns] [--seconds N] [--age-ms N] [--foreign | --onset | --restart | --xds]

  --short      3 s a cell instead of 25 s (25 s at an age of 200 ms are more than 100 rotations of each connection)
  --only LIST  these peers alone
  --seconds N  length of a cell
  --age-ms N   MaxConnectionAge of every server, 200 unless told; e.g. --age-ms 1000 --seconds 110
  --foreign    the peers among themselves instead: what gRPC's own implementations lose. Reports, never fails
  --onset      grpc-go's burst instead: share of failed calls of N at once on one connection. Reports, never fails
  --xds        gRPC's own xDS clients against `meshless xds` instead: see xds/run.sh
  --restart    a rolling restart of three servers instead, through a virtual address and through DNS (4 min; --short: 1 min)

Exit code: 0 if no cell failed, 1 if one did, 2 if the matrix could not run. Skipped rows do not fail it.
TEXT
}

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
protos=$root/crates/meshless-lab/proto
peers=${CARGO_TARGET_DIR:-$root/target}/peers
# MESHLESS: a binary built elsewhere, e.g. with debug assertions; else the script builds its own.
meshless=${MESHLESS:-${CARGO_TARGET_DIR:-$root/target}/release/meshless}

only=go,python,node,java,dns mode=matrix seconds=25 age_ms=200 short=
while (($#)); do
  case $1 in
    --short) seconds=3 short=1 ;;
    --only) only=${2:?"--only needs a list"} && shift ;;
    --seconds) seconds=${2:?"--seconds needs a number"} && shift ;;
    --age-ms) age_ms=${2:?"--age-ms needs a number"} && shift ;;
    --foreign | --onset | --restart | --xds) mode=${1#--} ;;
    -h | --help) usage && exit ;;
    *) usage >&2 && exit 2 ;;
  esac
  shift
done
[[ $only =~ ^(go|python|node|java|dns)(,(go|python|node|java|dns))*$ && $seconds$age_ms =~ ^[1-9][0-9]*$ ]] || {
  usage >&2
  exit 2
}

if [[ $mode == xds ]]; then
  clients=${only//dns/} && clients=${clients//,,/,}
  exec "$here/xds/run.sh" ${short:+--short} --only "${clients%,}"
fi

IN_FLIGHT=10
SERVICE_MS=10
GRACE_MS=2000
BACKENDS=3
SHAPES=("unary pick_first" "unary round_robin" "server-stream round_robin" "client-stream round_robin" "bidi-stream round_robin")

source "$here/script/install.sh"
source "$here/script/process.sh"
source "$here/script/cell.sh"
source "$here/script/conformance.sh"
source "$here/script/restart.sh"

mkdir -p "$peers/log" "$peers/bin" "$peers/run"
rm -f "$peers"/log/*.txt "$peers"/run/*
trap stop_all EXIT
trap 'exit 130' INT TERM

declare -A has=()
for peer in ${only//,/ }; do
  "install_$peer" && has[$peer]=1
done

build_meshless() {
  [[ ${MESHLESS:-} ]] || cargo build --release --locked --quiet --manifest-path "$root/Cargo.toml" --bin meshless || exit 2
}

matrix() {
  build_meshless
  local peer shape
  header
  for peer in go python node java; do
    [[ ${has[$peer]:-} ]] || continue
    for shape in "${SHAPES[@]}"; do cell "$peer" meshless $shape; done
  done
  for peer in go python node java; do
    [[ ${has[$peer]:-} ]] || continue
    for shape in "${SHAPES[@]}"; do cell meshless "$peer" $shape; done
  done
  if [[ ${has[dns]:-} && ${has[go]:-} ]]; then
    dns_cell go
    dns_cell meshless
  elif [[ ${has[dns]:-} ]]; then
    skip_peer dns "its backends are grpc-go servers; add go to --only"
  fi
  [[ ${has[go]:-} ]] || return
  if install_h2spec; then
    h2spec_cell "no ageing"
    # All of h2spec takes half a second; most of its connections are younger than two milliseconds when they end.
    h2spec_cell "age 1 ms" --max-connection-age 1ms --max-connection-age-grace 2s
  fi
  # Three pings, 10 s apart, are what the strikes need.
  if [[ ! $short ]]; then
    pings_cell "ping permitted" 5s DeadlineExceeded
    pings_cell "ping forbidden" 60s too_many_pings
  fi
}

# What a deployment's rolling restart costs the clients of our server.
restart() {
  build_meshless
  [[ ${has[go]:-} && ${has[dns]:-} ]] || exit 2
  header
  need vip haproxy && {
    restart_cell go vip 2
    restart_cell meshless vip 2
  }
  restart_cell meshless dns 4
  [[ $short ]] && return
  # grpc-go asks DNS at most every 30 s: a lame duck must outlast that.
  restart_cell go dns 33
  echo "and, to be seen rather than passed, with a lame duck that does not:"
  restart_cell go dns 4
  ((failed > 0)) && ((failed--))
}

foreign() {
  local client server shape
  header
  for server in go python node java; do
    for client in go python node java; do
      [[ ${has[$client]:-} && ${has[$server]:-} ]] || continue
      for shape in "${SHAPES[@]}"; do cell "$client" "$server" $shape; done
    done
  done
  [[ ${has[dns]:-} && ${has[go]:-} ]] && dns_cell go
}

onset() {
  [[ ${has[go]:-} ]] || exit 2
  local calls server
  # The original experiment: the server works 100 ms, the client waits 300 ms.
  start "$peers/run/server" "$peers/bin/server" --service-time-ms 100
  server=$pid
  await "$peers/run/server" listening "$server" || exit 2
  for calls in 1000 2000 5000 7000 10000 20000; do
    "$peers/bin/burst" --target "$(address_in "$peers/run/server")" --calls "$calls"
  done
  stop "$server"
}

"$mode"
[[ $mode == onset ]] && exit 0
printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[[ $mode == foreign ]] || ((failed == 0))
