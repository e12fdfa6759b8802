#!/usr/bin/env bash
# Runs gRPC's own xDS clients against `meshless xds`, and prints what became of their calls. See ../README.md.
set -uo pipefail

usage() {
  cat <<'TEXT'
usage: peers/xds/run.sh [--short] [--only go,python,node,java]

  --short      the control plane is gone for 3 s instead of 10 s
  --only LIST  these clients alone

Exit code: 0 if no check failed, 1 if one did, 2 if they could not run. Skipped clients do not fail it.
TEXT
}

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$(dirname "$here")")
peers=${CARGO_TARGET_DIR:-$root/target}/peers
meshless=${MESHLESS:-${CARGO_TARGET_DIR:-$root/target}/release/meshless}

only=go,python,node,java down=10
while (($#)); do
  case $1 in
    --short) down=3 ;;
    --only) only=${2:?"--only needs a list"} && shift ;;
    -h | --help) usage && exit ;;
    *) usage >&2 && exit 2 ;;
  esac
  shift
done

SERVICE=echo.shop:50051

source "$here/../script/install.sh"
source "$here/../script/process.sh"
source "$here/clients.sh"

run=$peers/run/xds
mkdir -p "$peers/log" "$peers/bin" "$run"
rm -f "$run"/* "$peers"/log/xds-*.txt
trap stop_all EXIT
trap 'exit 130' INT TERM

languages=()
for language in ${only//,/ }; do
  "install_xds_$language" && languages+=("$language")
done
((${#languages[@]} > 0)) || exit 2
[[ ${MESHLESS:-} ]] || cargo build --release --locked --quiet --manifest-path "$root/Cargo.toml" --bin meshless || exit 2

passed=0 failed=0 planes=0

# check WHO WHAT SHOWN CONDITION...: a row; it passes if the condition, an arithmetic one, holds.
check() {
  local result=passed
  if ((${*:4})); then ((passed += 1)); else ((failed += 1)) && result=FAILED; fi
  printf '%-8s  %-44s  %-34s  %s\n' "$1" "$2" "$3" "$result"
}

now() { date +%s%3N; }

# calls LANGUAGE FROM TO PATTERN: how many calls ended in that time, on a backend of that pattern.
calls() {
  awk -v from="$2" -v to="$3" -v pattern="$4" '$1 >= from && $1 < to && $3 ~ pattern' "$run/$1" | wc -l
}

# after LANGUAGE FROM BACKEND: ms from then until the first call on that backend; nothing if there was none.
after() {
  awk -v from="$2" -v backend="$3" '$1 >= from && $3 == backend { print $1 - from; exit }' "$run/$1"
}

# until_all SECONDS COMMAND...: waits until the command succeeds for each language.
until_all() {
  local language try all tries=$(($1 * 10))
  shift
  for ((try = 0; try < tries; try++)); do
    all=1
    for language in "${languages[@]}"; do "$@" "$language" || all=; done
    [[ $all ]] && return
    sleep 0.1
  done
}

has_called() { (($(wc -l <"$run/$2") >= $1)); }
has_reached() { [[ $(after "$3" "$1" "$2") ]]; }

declare -A address pids

# backend NAME SERVICE_MS: starts a server of ours.
backend() {
  start "$run/$1.server" "$meshless" serve --control --listen 127.0.0.1:0 --name "$1" --service-time "$2ms" --lame-duck 2s
  await "$run/$1.server" Ready "$pid" || exit 2
  pids[$1]=$pid
  address[$1]=$(grep -o '127\.0\.0\.1:[0-9]*' "$run/$1.server" | head -n 1)
}

# endpoints NAME...: these are the service's.
endpoints() {
  local name list=
  for name in "$@"; do list+="${list:+, }{\"address\": \"${address[$name]}\"}"; done
  printf '{"%s": [%s]}' "$SERVICE" "$list" >"$run/endpoints.new"
  mv "$run/endpoints.new" "$run/endpoints.json"
}

policy() {
  printf '%s' "$1" >"$run/policy.new"
  mv "$run/policy.new" "$run/policy.json"
}

# control_plane LISTEN STATUS
control_plane() {
  local said=$run/control-plane.$((++planes))
  start "$said" "$meshless" xds --listen "$1" --status "$2" \
    --endpoints "$run/endpoints.json" --policy "$run/policy.json"
  control=$pid
  await "$said" '^Status' "$pid" || { cat "$said.err" && exit 2; }
  bootstrap=$(sed -n 2p "$said")
  listen=$(sed -n 's/.* on \([0-9.:]*\);.*/\1/p' "$said")
  status=$(sed -n 's|.*http://\([0-9.:]*\)/.*|\1|p' "$said")
}

# refused: how many responses clients have refused.
refused() {
  local text
  exec 3<>"/dev/tcp/${status%:*}/${status#*:}" || return
  printf 'GET /metrics HTTP/1.1\r\nHost: status\r\nConnection: close\r\n\r\n' >&3
  text=$(cat <&3)
  exec 3>&-
  awk '$1 == "meshless_xds_nacks_total" { print $2 + 0 }' <<<"$text"
}

end_process() {
  kill -KILL "$1" 2>/dev/null
  stop "$1" 2>/dev/null
}

for name in b1 b2 b3 b4 b5; do backend "$name" 1; done
backend slow 200
endpoints b1 b2 b3
policy '{}'
control_plane 127.0.0.1:0 127.0.0.1:0

printf '%-8s  %-44s  %-34s  %s\n' client check shown result
for language in "${languages[@]}"; do
  xds_client "$language"
  start "$run/$language" env GRPC_XDS_BOOTSTRAP_CONFIG="$bootstrap" "${command[@]}" --target "xds:///$SERVICE" --workers 4 --pause-ms 20
done

until_all 60 has_called 300
for language in "${languages[@]}"; do
  shares=$(head -n 300 "$run/$language" | awk '{ n[$3]++ } END { print n["b1"] + 0, n["b2"] + 0, n["b3"] + 0 }')
  read -r one two three <<<"$shares"
  within=1
  for share in $one $two $three; do ((share >= 95 && share <= 105)) || within=0; done
  check "$language" "300 calls over three backends" "$shares" "$within"
  first=$(awk 'NR == 1 { print $2 }' "$run/$language")
  # 20 to 500 ms on a machine that is idle, but four clients start at once; a JVM compiles meanwhile.
  [[ $language == java ]] && limit=20000 || limit=5000
  check "$language" "the first call" "$first ms" "first < limit"
done

begun=$(now)
endpoints b1 b2 b3 b4 b5
sleep 6
ended=$(now)
for language in "${languages[@]}"; do
  all=$(calls "$language" $((begun + 3000)) "$ended" .)
  four=$(calls "$language" $((begun + 3000)) "$ended" b4) five=$(calls "$language" $((begun + 3000)) "$ended" b5)
  found=$(after "$language" "$begun" b4) also=$(after "$language" "$begun" b5)
  check "$language" "3 to 5: the new ones are called" "after ${found:-never} and ${also:-never} ms" "${found:-9999} <= 3000 && ${also:-9999} <= 3000"
  check "$language" "3 to 5: their shares of $all calls" "$four, $five" "four * 50 >= all * 9 && five * 50 >= all * 9"
  lost=$(calls "$language" 0 "$ended" '^!')
  check "$language" "failed until then" "$lost" "lost == 0"
done

# As kubelet does: the new pod is ready, the old one leaves the slices and gets SIGTERM in the same moment.
endpoints b1 b2 b3
sleep 2
begun=$(now)
serving=(b1 b2 b3)
for at in 0 1 2; do
  backend "r$at" 1
  old=${serving[at]}
  serving[at]=r$at
  endpoints "${serving[@]}"
  kill -TERM "${pids[$old]}"
  sleep 3
done
ended=$(now)
for language in "${languages[@]}"; do
  lost=$(calls "$language" "$begun" "$ended" '^!') all=$(calls "$language" "$begun" "$ended" .)
  check "$language" "rolling restart of three, without retries" "$lost of $all failed" "all > 0 && lost == 0"
done

policy '{"loadBalancingConfig": [{"ring_hash": {"requestHashHeader": "session"}}]}'
sleep 4
begun=$(now)
sleep 2
ended=$(now)
for language in "${languages[@]}"; do
  used=$(awk -v from="$begun" -v to="$ended" '$1 >= from && $1 < to { n[$3] } END { print length(n) }' "$run/$language")
  check "$language" "ring_hash: backends of one header value" "$used" "used == 1"
done

policy '{"maxRequests": 3}'
endpoints slow
sleep 4
begun=$(now)
sleep 3
ended=$(now)
for language in "${languages[@]}"; do
  ok=$(calls "$language" "$begun" "$ended" slow) lost=$(calls "$language" "$begun" "$ended" '^!UNAVAILABLE|^!Unavailable')
  # Three at a time take 200 ms each; the fourth of the four workers always finds the bound.
  check "$language" "maxRequests 3, four workers" "$ok answered, $lost refused" "ok > 0 && ok <= 54 && lost > 0"
done

policy '{"loadBalancingConfig": [{"least_request": {}}]}'
endpoints r0 r1 slow
sleep 4
begun=$(now)
sleep 5
ended=$(now)
for language in "${languages[@]}"; do
  all=$(calls "$language" "$begun" "$ended" .) slow=$(calls "$language" "$begun" "$ended" slow)
  lost=$(calls "$language" "$begun" "$ended" '^!')
  case $language in
    go | java) check "$language" "least_request: share of a slow backend" "$slow of $all" "all > 0 && lost == 0 && slow * 4 < all" ;;
    *) check "$language" "least_request: goes on with round_robin" "$slow of $all" "lost == 0 && slow * 10 > all * 3 && slow * 10 < all * 4" ;;
  esac
done
check all "responses refused so far" "$(refused)" "$(refused) == 0"

policy '{"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.02s", "maxBackoff": "0.2s",
  "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}]}'
endpoints r0 r1 r2
sleep 4
begun=$(now)
end_process "${pids[r2]}"
sleep 2
endpoints r0 r1
sleep 2
ended=$(now)
for language in "${languages[@]}"; do
  lost=$(calls "$language" "$begun" "$ended" '^!') all=$(calls "$language" "$begun" "$ended" .)
  # grpc-java ends calls in flight with UNKNOWN, which no xDS policy can retry.
  [[ $language == java ]] && limit=4 || limit=0
  check "$language" "SIGKILL of one of three, with retries" "$lost of $all failed" "all > 0 && lost <= limit"
done

begun=$(now)
end_process "$control"
sleep 1
endpoints r0 r1 b4
sleep "$down"
back=$(now)
control_plane "$listen" "$status"
until_all 20 has_reached "$back" b4
ended=$(now)
for language in "${languages[@]}"; do
  lost=$(calls "$language" "$begun" "$ended" '^!') all=$(calls "$language" "$begun" "$ended" .)
  found=$(after "$language" "$back" b4)
  check "$language" "control plane killed for $((down + 1)) s" "$lost of $all failed" "all > 0 && lost == 0"
  # The client's own backoff, 1 s × 1.6 each time, is most of it.
  check "$language" "back: what changed meanwhile is known" "after ${found:-never} ms" "${found:-99999} <= 15000"
done
check all "responses refused by clients that came back" "$(refused)" "$(refused) == 0"

printf '\n%d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
