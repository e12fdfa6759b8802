#!/usr/bin/env bash
# Runs meshless against a real Kubernetes API server, etcd and controllers, with stand-ins for what needs a container engine. See README.md.
set -uo pipefail

usage() {
  cat <<'TEXT'
usage: peers/cluster/run.sh [COMMAND…]

Starts the cluster, runs COMMAND in it (else a shell) with KUBECONFIG set to a namespace admin's, and stops all of it. $FOLDER has
root.kubeconfig, admin.kubeconfig and viewer.kubeconfig.

  KUBE_BIN=dir   where kube-apiserver, kube-controller-manager and etcd are; else they are built there first, from the module proxy: some
                 twenty minutes of two processors (default: target/peers/kubernetes)
  MESHLESS=path  the binary that pods run (default: target/release/meshless)

Needs root for a network and a mount namespace of its own; nothing outside of them is touched. Needs python3, openssl, ip, kubectl.
TEXT
}
[[ ${1:-} != -h && ${1:-} != --help ]] || { usage && exit; }

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$(dirname "$here")")
target=${CARGO_TARGET_DIR:-$root/target}
export KUBE_BIN=${KUBE_BIN:-$target/peers/kubernetes}
export MESHLESS=${MESHLESS:-$target/release/meshless}

for tool in python3 openssl ip kubectl unshare; do
  command -v "$tool" >/dev/null || { echo "error: $tool is needed" >&2 && exit 2; }
done
[[ -x $MESHLESS ]] || { echo "error: no $MESHLESS; build it with `cargo build --release`, or set MESHLESS" >&2 && exit 2; }
if [[ ! -x $KUBE_BIN/kube-apiserver || ! -x $KUBE_BIN/etcd || ! -x $KUBE_BIN/kube-controller-manager ]]; then
  mkdir -p "$KUBE_BIN"
  (cd "$here" && go build -o "$KUBE_BIN/" -trimpath -ldflags "-X k8s.io/component-base/version.gitVersion=v1.37.2 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37" \
    k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager &&
    go build -o "$KUBE_BIN/etcd" go.etcd.io/etcd/server/v3) || exit 2
fi

if [[ -z ${INSIDE:-} ]]; then
  INSIDE=1 exec unshare --net --mount -- "$0" "$@"
fi

FOLDER=$(mktemp -d)
export FOLDER
pids=()
stop() {
  # The stand-in first: it ends the pods.
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do kill "${pids[i]}" 2>/dev/null && wait "${pids[i]}" 2>/dev/null; done
  [[ -n ${KEEP:-} ]] && echo "kept $FOLDER" >&2 || rm -rf "$FOLDER"
}
trap stop EXIT

# Every address of 10.0.0.0/8 is this namespace's own.
ip link set lo up && ip route add local 10.0.0.0/8 dev lo || exit 2
echo "nameserver 10.0.0.10" >"$FOLDER/resolv.conf"
mount --bind "$FOLDER/resolv.conf" /etc/resolv.conf || exit 2
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=node-1 -keyout "$FOLDER/node.key" -out "$FOLDER/node.crt" 2>/dev/null
openssl genrsa -out "$FOLDER/accounts.key" 2048 2>/dev/null
cat >"$FOLDER/tokens.csv" <<'TEXT'
kubelet-token,kubelet,1,system:masters
root-token,root,2,system:masters
admin-token,admin,3
viewer-token,viewer,4
TEXT

"$KUBE_BIN/etcd" --data-dir "$FOLDER/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync >"$FOLDER/etcd.log" 2>&1 &
pids+=($!)
"$KUBE_BIN/kube-apiserver" --etcd-servers http://127.0.0.1:2379 --bind-address 10.0.0.1 --advertise-address 10.0.0.1 --secure-port 6443 \
  --cert-dir "$FOLDER/api" --service-cluster-ip-range 10.96.0.0/16 --authorization-mode RBAC --token-auth-file "$FOLDER/tokens.csv" \
  --service-account-issuer https://kubernetes.default.svc --service-account-signing-key-file "$FOLDER/accounts.key" \
  --service-account-key-file "$FOLDER/accounts.key" --kubelet-preferred-address-types InternalIP \
  --kubelet-client-certificate "$FOLDER/node.crt" --kubelet-client-key "$FOLDER/node.key" >"$FOLDER/apiserver.log" 2>&1 &
pids+=($!)
python3 "$here/kubelet.py" "$FOLDER" "$MESHLESS" >"$FOLDER/kubelet.log" 2>&1 &
kubelet=$!
until [[ -s $FOLDER/viewer.kubeconfig ]]; do sleep 0.1; done
as_root=(kubectl --kubeconfig "$FOLDER/root.kubeconfig")
for _ in $(seq 600); do "${as_root[@]}" get --raw /readyz >/dev/null 2>&1 && break; sleep 0.2; done
"${as_root[@]}" get --raw /readyz >/dev/null || { tail -5 "$FOLDER/apiserver.log" >&2; exit 2; }
# No node controller: the stand-in sends no heartbeats.
"$KUBE_BIN/kube-controller-manager" --kubeconfig "$FOLDER/root.kubeconfig" --leader-elect=false --secure-port=0 \
  --service-account-private-key-file "$FOLDER/accounts.key" --use-service-account-credentials=false \
  --controllers deployment-controller,replicaset-controller,job-controller,endpointslice-controller,serviceaccount-controller,garbage-collector-controller,namespace-controller,clusterrole-aggregation-controller,disruption-controller \
  >"$FOLDER/controllers.log" 2>&1 &
pids+=($!)
pids+=("$kubelet")
"${as_root[@]}" create namespace meshless >/dev/null
"${as_root[@]}" -n meshless create rolebinding admin --clusterrole=admin --user=admin >/dev/null
"${as_root[@]}" -n meshless create rolebinding viewer --clusterrole=view --user=viewer >/dev/null
for _ in $(seq 100); do "${as_root[@]}" -n meshless get serviceaccount default >/dev/null 2>&1 && break; sleep 0.2; done

export KUBECONFIG=$FOLDER/admin.kubeconfig
if (($#)); then "$@"; else "${SHELL:-bash}"; fi
