"""`kubectl create --dry-run=client` of the Kubernetes manifests.

Even then kubectl asks a server which kinds there are. There is no cluster here; that one question is answered from the list
below, which is a part of what every cluster since 1.19 says. What stands in the fields is checked against the schemas of
Kubernetes (containers.py); kubectl reads the files as it reads them for a cluster, and knows each kind and version.
"""

import json
import os
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KINDS = {
    "v1": {"services": "Service"},
    "apps/v1": {"statefulsets": "StatefulSet"},
    "networking.k8s.io/v1": {"ingresses": "Ingress"},
}


def discovery(path):
    """The answer of a cluster's API server to GET `path`; `None`: 404."""
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = [group.split("/") for group in KINDS if "/" in group]
        versions = [(name, {"groupVersion": f"{name}/{version}", "version": version}) for name, version in groups]
        listed = [{"name": name, "versions": [version], "preferredVersion": version} for name, version in versions]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
    group = path.removeprefix("/apis/").removeprefix("/api/")
    if group not in KINDS:
        return None
    verbs = ["create", "get", "list", "patch"]
    listed = [
        {"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": verbs}
        for name, kind in KINDS[group].items()
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": listed}


class ApiServer(BaseHTTPRequestHandler):
    def do_GET(self):
        answer = discovery(self.path.split("?")[0])
        body = json.dumps(answer).encode()
        self.send_response(404 if answer is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def dry_run(kubectl, manifest):
    """What kubectl would create, as `kind/name` in the order of the file, and what it complains of."""
    with ThreadingHTTPServer(("127.0.0.1", 0), ApiServer) as server, tempfile.TemporaryDirectory() as home:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [kubectl, f"--server=http://127.0.0.1:{server.server_port}", "create"]
        # What it would check beyond the kinds takes a cluster's own description of them.
        command += ["--dry-run=client", "--validate=false", "--output=name", f"--filename={manifest}"]
        environment = {"PATH": os.environ["PATH"], "HOME": home, "KUBECONFIG": "/dev/null"}
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        finally:
            server.shutdown()
    return done.stdout.split(), done.stderr
