"""What a real API server lacks on one machine: a scheduler, a kubelet, a cluster DNS and a kube-proxy, as far as meshless needs them.

Started by run.sh inside a network namespace of its own, in which every address of 10.0.0.0/8 is local. A pod is a host process that has
an address of its own: its container's arguments, given to the binary under test instead of to an image. What is real: API server, etcd and
controllers, so every object, watch, EndpointSlice and refusal. What is not: images, isolation, the network.
"""

import http.client, json, os, random, signal, socket, ssl, struct, subprocess, sys, threading, time, urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SERVER, PORT, NODE, NODE_IP, DNS_IP = "10.0.0.1", 6443, "node-1", "10.0.0.2", "10.0.0.10"
PERIOD = 0.1  # s between two looks at the cluster; a real kubelet hears of changes in about that time


class Api:
    """The API server, asked with one connection per thread."""

    def __init__(self, token):
        self.token, self.local = token, threading.local()

    def ask(self, method, path, body=None, kind="application/json"):
        connection = getattr(self.local, "connection", None)
        if connection is None:
            connection = http.client.HTTPSConnection(SERVER, PORT, timeout=10, context=ssl._create_unverified_context())
            self.local.connection = connection
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"{}")
        except (OSError, http.client.HTTPException):
            connection.close()
            self.local.connection = None
            return 0, {}

    def items(self, path):
        return self.ask("GET", path)[1].get("items") or []


class Pod:
    """A pod as a process."""

    def __init__(self, spec, address, folder, binary, api):
        self.name, self.namespace = spec["metadata"]["name"], spec["metadata"]["namespace"]
        self.uid, self.address, self.told, self.killed_at = spec["metadata"]["uid"], address, None, None
        self.log = os.path.join(folder, f"{self.namespace}_{self.name}.log")
        container = spec["spec"]["containers"][0]
        self.container, self.image = container["name"], container["image"]
        self.probe = container.get("readinessProbe")
        self.process = None
        self.started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if "missing" in self.image:
            return
        env = dict(os.environ)
        fields = {"metadata.name": self.name, "metadata.namespace": self.namespace, "status.podIP": address}
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            env[variable["name"]] = fields.get(source, "") if source else variable.get("value", "")
        index = spec["metadata"].get("annotations", {}).get("batch.kubernetes.io/job-completion-index")
        if index is not None:
            env["JOB_COMPLETION_INDEX"] = index
        if spec["spec"].get("automountServiceAccountToken", True):
            env["KUBECONFIG"] = self.credentials(spec, folder, api)
        arguments = []
        for argument in container.get("args", []):
            for name, value in env.items():
                argument = argument.replace(f"$({name})", value)
            # There is one network for all: every address is not this pod's alone.
            arguments.append(argument.replace("0.0.0.0:", f"{address}:"))
        output = open(self.log, "wb")
        self.process = subprocess.Popen([binary, *arguments], env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def credentials(self, spec, folder, api):
        account = spec["spec"].get("serviceAccountName", "default")
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{account}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        token = api.ask("POST", path, body)[1].get("status", {}).get("token", "")
        file = os.path.join(folder, f"{self.namespace}_{self.name}.kubeconfig")
        with open(file, "w") as out:
            json.dump(kubeconfig(token, self.namespace), out)
        return file

    def ready(self):
        if self.process is None or self.process.poll() is not None or self.killed_at is not None:
            return False
        port = (self.probe or {}).get("grpc", {}).get("port")
        if port is None:
            return True
        try:
            socket.create_connection((self.address, port), 0.2).close()
            return True
        except OSError:
            return False

    def status(self):
        code = self.process.poll() if self.process else None
        if self.process is None:
            why = "ErrImagePull" if self.told is None else "ImagePullBackOff"
            state = {"waiting": {"reason": why, "message": f'Back-off pulling image "{self.image}"'}}
            phase = "Pending"
        elif code is None:
            phase, state = "Running", {"running": {"startedAt": self.started}}
        else:
            phase = "Succeeded" if code == 0 else "Failed"
            state = {"terminated": {"exitCode": code if code >= 0 else 128 - code, "reason": "Completed" if code == 0 else "Error"}}
        ready = self.ready()
        flag = "True" if ready else "False"
        conditions = [{"type": t, "status": s} for t, s in
                      (("PodScheduled", "True"), ("Initialized", "True"), ("ContainersReady", flag), ("Ready", flag))]
        return {"phase": phase, "hostIP": NODE_IP, "podIP": self.address, "podIPs": [{"ip": self.address}], "startTime": self.started,
                "conditions": conditions, "containerStatuses": [{
                    "name": self.container, "image": self.image, "imageID": "", "ready": ready, "restartCount": 0,
                    "started": phase == "Running", "state": state}]}

    def signal(self, number):
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)


class Kubelet:
    """Binds, starts, watches and ends pods, and knows where Services lead."""

    def __init__(self, api, folder, binary):
        self.api, self.folder, self.binary = api, folder, binary
        self.pods, self.next, self.services, self.ready, self.proxies = {}, 0, {}, {}, {}

    def step(self):
        status, listed = self.api.ask("GET", "/api/v1/pods")
        if status != 200:
            return
        seen = set()
        for spec in listed["items"]:
            uid = spec["metadata"]["uid"]
            seen.add(uid)
            if "nodeName" not in spec["spec"]:
                self.bind(spec)
            elif uid not in self.pods and "deletionTimestamp" in spec["metadata"]:
                # Deleted before it was started: there is nothing to end.
                self.gone(spec["metadata"])
            elif uid not in self.pods:
                self.next += 1
                address = f"10.1.{self.next >> 8}.{self.next & 255}"
                self.pods[uid] = Pod(spec, address, self.folder, self.binary, self.api)
            if uid in self.pods:
                self.look_after(self.pods[uid], spec)
        for uid in [uid for uid in self.pods if uid not in seen]:
            self.pods.pop(uid).signal(signal.SIGKILL)
        self.routes()

    def bind(self, spec):
        name, namespace = spec["metadata"]["name"], spec["metadata"]["namespace"]
        pod = f"/api/v1/namespaces/{namespace}/pods/{name}"
        if spec["spec"].get("nodeSelector"):
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                         "message": "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."}
            self.api.ask("PATCH", pod + "/status", {"status": {"conditions": [condition]}}, "application/merge-patch+json")
            return
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"apiVersion": "v1", "kind": "Node", "name": NODE}}
        self.api.ask("POST", pod + "/binding", body)

    def gone(self, metadata):
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        self.api.ask("DELETE", path, {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}})

    def look_after(self, pod, spec):
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
        if "deletionTimestamp" in spec["metadata"]:
            now = time.monotonic()
            grace = spec["metadata"].get("deletionGracePeriodSeconds", 30)
            if pod.killed_at is None:
                pod.signal(signal.SIGTERM)
            # A second deletion may give less time than the first.
            pod.killed_at = min(pod.killed_at or now + grace, now + grace)
            if now >= pod.killed_at:
                pod.signal(signal.SIGKILL)
            if pod.process is None or pod.process.poll() is not None:
                self.gone(spec["metadata"])
                return
        status = pod.status()
        if status != pod.told:
            code, _ = self.api.ask("PATCH", path + "/status", {"status": status}, "application/merge-patch+json")
            if code == 200:
                pod.told = status

    def routes(self):
        services = {(s["metadata"]["namespace"], s["metadata"]["name"]): s["spec"] for s in self.api.items("/api/v1/services")}
        ready = {}
        for piece in self.api.items("/apis/discovery.k8s.io/v1/endpointslices"):
            key = (piece["metadata"]["namespace"], piece["metadata"].get("labels", {}).get("kubernetes.io/service-name"))
            ports = [port["port"] for port in piece.get("ports") or []]
            for endpoint in piece.get("endpoints") or []:
                if endpoint["conditions"].get("ready", True):
                    ready.setdefault(key, []).extend((a, port) for a in endpoint["addresses"] for port in ports[:1])
        self.services, self.ready = services, ready
        for key, spec in services.items():
            address, ports = spec.get("clusterIP"), spec.get("ports") or []
            if address not in (None, "None") and key != ("default", "kubernetes"):
                for port in ports:
                    if (address, port["port"]) not in self.proxies:
                        self.proxies[(address, port["port"])] = Proxy(self, key, address, port["port"])
        kept = {spec.get("clusterIP") for spec in services.values()}
        for key in [key for key in self.proxies if key[0] not in kept]:
            self.proxies.pop(key).close()

    def addresses(self, name):
        labels = name.rstrip(".").lower().split(".")
        if len(labels) < 3 or labels[2] != "svc" or labels[3:] not in ([], ["cluster", "local"]):
            return None
        key = (labels[1], labels[0])
        if key not in self.services:
            return None
        address = self.services[key].get("clusterIP")
        return [address] if address not in (None, "None") else [a for a, _ in self.ready.get(key, [])]


class Proxy:
    """A ClusterIP: each connection goes to a random ready endpoint, and stays there."""

    def __init__(self, kubelet, key, address, port):
        self.kubelet, self.key = kubelet, key
        self.listener = socket.create_server((address, port))
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection(random.choice(self.kubelet.ready[self.key]), 2)
            except (KeyError, IndexError):
                client.close()
                continue
            except OSError:
                if self.listener.fileno() < 0:
                    return
                continue
            for one, other in ((client, server), (server, client)):
                one.settimeout(None)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=copy, args=(one, other), daemon=True).start()


def copy(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve_dns(kubelet):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((DNS_IP, 53))
    while True:
        query, client = server.recvfrom(4096)
        at, labels = 12, []
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        kind = struct.unpack("!H", query[at + 1:at + 3])[0]
        found = kubelet.addresses(".".join(labels))
        records = random.sample(found, len(found)) if found and kind == 1 else []
        code = 3 if found is None else 0
        header = query[:2] + struct.pack("!HHHHH", 0x8580 | code, 1, len(records), 0, 0)
        # The time to live is CoreDNS's on a cluster: 5 s.
        answers = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 5, 4) + socket.inet_aton(a) for a in records)
        server.sendto(header + query[12:at + 5] + answers, client)


def serve_logs(kubelet, certificate):
    class Logs(BaseHTTPRequestHandler):
        def do_GET(self):
            url = urllib.parse.urlparse(self.path)
            _, what, namespace, name, *_ = url.path.split("/")
            file = os.path.join(kubelet.folder, f"{namespace}_{name}.log")
            if what != "containerLogs" or not os.path.exists(file):
                self.send_error(404)
                return
            text = open(file, "rb").read()
            limit = urllib.parse.parse_qs(url.query).get("tailLines")
            if limit:
                text = b"".join(text.splitlines(True)[-int(limit[0]):])
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer((NODE_IP, 10250), Logs)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate + ".crt", certificate + ".key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


def kubeconfig(token, namespace):
    cluster = {"server": f"https://{SERVER}:{PORT}", "insecure-skip-tls-verify": True}
    return {"apiVersion": "v1", "kind": "Config", "current-context": "peer",
            "clusters": [{"name": "peer", "cluster": cluster}], "users": [{"name": "peer", "user": {"token": token}}],
            "contexts": [{"name": "peer", "context": {"cluster": "peer", "user": "peer", "namespace": namespace}}]}


def main():
    folder, binary = sys.argv[1:]
    api = Api("kubelet-token")
    kubelet = Kubelet(api, os.path.join(folder, "pods"), binary)
    os.makedirs(kubelet.folder, exist_ok=True)
    for user in ("root", "admin", "viewer"):
        with open(os.path.join(folder, user + ".kubeconfig"), "w") as out:
            json.dump(kubeconfig(f"{user}-token", "meshless"), out)
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
    while api.ask("POST", "/api/v1/nodes", node)[0] not in (201, 409):
        time.sleep(0.2)
    status = {"addresses": [{"type": "InternalIP", "address": NODE_IP}], "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
              "conditions": [{"type": "Ready", "status": "True"}], "capacity": {"cpu": "8", "memory": "8Gi", "pods": "110"}}
    api.ask("PATCH", f"/api/v1/nodes/{NODE}/status", {"status": status}, "application/merge-patch+json")
    threading.Thread(target=serve_dns, args=(kubelet,), daemon=True).start()
    threading.Thread(target=serve_logs, args=(kubelet, os.path.join(folder, "node")), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while True:
            begun = time.monotonic()
            kubelet.step()
            time.sleep(max(0.0, PERIOD - (time.monotonic() - begun)))
    finally:
        for pod in kubelet.pods.values():
            pod.signal(signal.SIGKILL)


main()
