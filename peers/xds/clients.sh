# Installs and starts the xDS clients, at the versions of their lock files. Sourced by run.sh.

install_xds_go() {
  need go go || return 1
  quietly xds-go go -C "$here/go" build -o "$peers/bin/xds-client" . ||
    skip_peer go "it does not build, $peers/log/xds-go.txt says why"
}

install_xds_python() {
  local home=$peers/xds-python sources=("$here/python/requirements.txt")
  need python python3 || return 1
  fresh "$home/stamp" "${sources[@]}" && [[ -x $home/venv/bin/python ]] && return
  mkdir -p "$home"
  quietly xds-python python3 -m venv "$home/venv" &&
    quietly xds-python "$home/venv/bin/pip" install --disable-pip-version-check -r "${sources[0]}" &&
    stamp "$home/stamp" "${sources[@]}" ||
    skip_peer python "grpcio does not install, $peers/log/xds-python.txt says why (on Debian: apt-get install python3-venv)"
}

install_xds_node() {
  local home=$peers/xds-node sources=("$here/node/package.json" "$here/node/package-lock.json")
  need node node && need node npm || return 1
  fresh "$home/stamp" "${sources[@]}" && [[ -d $home/node_modules ]] && return
  mkdir -p "$home"
  cp "${sources[@]}" "$home/"
  quietly xds-node npm --prefix "$home" ci --ignore-scripts --no-audit --no-fund &&
    stamp "$home/stamp" "${sources[@]}" ||
    skip_peer node "@grpc/grpc-js-xds does not install, $peers/log/xds-node.txt says why"
}

install_xds_java() {
  local home=$peers/xds-java sources=("$here/java/pom.xml" "$here/java/src/main/java/peers/XdsClient.java")
  need java java && need java mvn || return 1
  fresh "$home/stamp" "${sources[@]}" && [[ -d $home/lib ]] && return
  mkdir -p "$home"
  quietly xds-java mvn --batch-mode --quiet --file "${sources[0]}" "-Dhome=$home" package &&
    stamp "$home/stamp" "${sources[@]}" ||
    skip_peer java "grpc-java does not build, $peers/log/xds-java.txt says why (it needs a JDK of 17 or later, and Maven)"
}

# xds_client LANGUAGE: sets `command`.
xds_client() {
  case $1 in
    go) command=("$peers/bin/xds-client") ;;
    python) command=("$peers/xds-python/venv/bin/python" "$here/python/client.py") ;;
    node) command=(env "NODE_PATH=$peers/xds-node/node_modules" node "$here/node/client.js") ;;
    java) command=(java -cp "$peers/xds-java/classes:$peers/xds-java/lib/*" peers.XdsClient) ;;
  esac
}
