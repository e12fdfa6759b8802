# Installs the peers under target/peers, at the versions that their lock files name. Sourced by run.sh.
# install_* returns 1 after it said in one line why a peer is skipped; what an installer printed is in $peers/log.

# A registry that hangs must not hang the matrix.
INSTALL_SECONDS_MAX=400

# quietly NAME COMMAND...: runs it quietly, at most INSTALL_SECONDS_MAX long.
quietly() {
  local log=$peers/log/$1.txt
  shift
  timeout --foreground "$INSTALL_SECONDS_MAX" "$@" >>"$log" 2>&1 </dev/null
}

skip_peer() {
  echo "skipped $1: $2"
  return 1
}

# need PEER COMMAND: whether COMMAND is there.
need() {
  command -v "$2" >/dev/null || skip_peer "$1" "$2 is not on PATH; install it to run these rows"
}

# fresh STAMP FILE...: whether STAMP was made from the same content of the files. Call `stamp` when it is.
fresh() {
  [[ -f $1 && $(<"$1") == "$(cat "${@:2}" | cksum)" ]]
}

stamp() {
  cat "${@:2}" | cksum >"$1"
}

install_go() {
  need go go || return 1
  quietly go go -C "$here/go" build -o "$peers/bin/" ./... ||
    skip_peer go "it does not build, $peers/log/go.txt says why"
}

install_dns() {
  need dns go || return 1
  quietly dns go -C "$here/dns" build -o "$peers/bin/coredns" . ||
    skip_peer dns "CoreDNS does not build, $peers/log/dns.txt says why"
}

install_python() {
  local home=$peers/python sources=("$here/python/requirements.txt" "$protos/hello.proto" "$protos/streams.proto")
  need python python3 || return 1
  fresh "$home/stamp" "${sources[@]}" && [[ -x $home/venv/bin/python ]] && return
  mkdir -p "$home/stubs"
  quietly python python3 -m venv "$home/venv" &&
    quietly python "$home/venv/bin/pip" install --disable-pip-version-check -r "$here/python/requirements.txt" &&
    quietly python "$home/venv/bin/python" -m grpc_tools.protoc -I "$protos" --python_out="$home/stubs" \
      --grpc_python_out="$home/stubs" hello.proto streams.proto &&
    stamp "$home/stamp" "${sources[@]}" ||
    skip_peer python "grpcio does not install, $peers/log/python.txt says why (on Debian: apt-get install python3-venv)"
}

install_node() {
  local home=$peers/node sources=("$here/node/package.json" "$here/node/package-lock.json")
  need node node && need node npm || return 1
  fresh "$home/stamp" "${sources[@]}" && [[ -d $home/node_modules ]] && return
  mkdir -p "$home"
  cp "${sources[@]}" "$home/"
  # protobufjs' install script only prints; nothing here needs one.
  quietly node npm --prefix "$home" ci --ignore-scripts --no-audit --no-fund &&
    stamp "$home/stamp" "${sources[@]}" ||
    skip_peer node "@grpc/grpc-js does not install, $peers/log/node.txt says why"
}

install_java() {
  local home=$peers/java sources=("$here/java/pom.xml" "$here"/java/src/main/java/peers/*.java "$protos/hello.proto" "$protos/streams.proto")
  need java java && need java mvn || return 1
  fresh "$home/stamp" "${sources[@]}" && [[ -d $home/lib ]] && return
  mkdir -p "$home"
  quietly java mvn --batch-mode --quiet --file "$here/java/pom.xml" "-Dhome=$home" package &&
    stamp "$home/stamp" "${sources[@]}" ||
    skip_peer java "grpc-java does not build, $peers/log/java.txt says why (it needs a JDK of 17 or later, and Maven)"
}

install_h2spec() {
  quietly h2spec go -C "$here/h2spec" build -o "$peers/bin/" github.com/summerwind/h2spec/cmd/h2spec ||
    skip_peer h2spec "it does not build, $peers/log/h2spec.txt says why"
}
