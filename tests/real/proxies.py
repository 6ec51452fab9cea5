"""Linking through real reverse proxies with TLS, at the root and under a sub-path, by a client that behaves like Molly."""

import html
import http.server
import json
import re
import subprocess
import threading
import urllib.parse

from proxy import ROOT, SUB_PATH, Proxy
from world import DEVICE, PHONE, Account, Daemon, World, check, check_equal

PROXIES = ("nginx", "caddy", "apache", "haproxy")
# What a client may claim in the headers that the daemon reads behind a trusted proxy: X-Forwarded-For and Forwarded decide
# whose limits count, the others make the link.
HOSTILE = {
    "Forwarded": "for=203.0.113.7;host=evil.example;proto=http",
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Prefix": "/evil",
    "X-Original-URL": "/evil",
}
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


class Client:
    """curl as Molly's HTTP client (OkHttp) does it: no Accept, 10 s, redirects are not followed."""

    def __init__(self, world, proxy, version):
        self.world, self.proxy, self.version = world, proxy, version

    def request(self, url, agent, body=None, headers=()):
        """One request; (status, text)."""
        host, port = urllib.parse.urlsplit(url).hostname, self.proxy.port
        args = ["curl", "-sS", f"--{self.version}", "--max-time", "10", "--max-redirs", "0", "--resolve", f"{host}:{port}:127.0.0.1"]
        args += ["--cacert", str(self.world.dir / "ca.pem"), "-H", "Accept:", "-A", agent, "-w", "\n%{http_version} %{http_code}"]
        if body is not None:
            args += ["-H", "Content-Type: application/json; charset=utf-8", "--data-binary", body]
        for header in headers:
            args += ["-H", header]
        done = subprocess.run([*args, url], capture_output=True, text=True)
        check(done.returncode == 0, f"{url}: {done.stderr}")
        text, _, last = done.stdout.rpartition("\n")
        used, status = last.split()
        check_equal(used, {"http1.1": "1.1", "http2": "2"}[self.version], f"{url}: HTTP version")
        return int(status), text

    def phone(self, url, body=None):
        """What Molly gets; always JSON with 200."""
        status, text = self.request(url, PHONE["User-Agent"], body)
        check_equal(status, 200, f"{url}: {text}")
        return json.loads(text)["mollysocket"]


def link_url(page):
    """The address the link on the page names."""
    link = html.unescape(re.search(r'href="(mollysocket://link\?[^"]+)"', page)[1])
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(link).query)
    check_equal(query["type"], ["webserver"], link)
    return query["url"][0]


def link_a_phone(world, proxy, place, version):
    client, account = Client(world, proxy, version), Account(world)
    status, page = client.request(proxy.url(place), BROWSER)
    check_equal(status, 200, "page")
    url = link_url(page)
    check_equal(url, proxy.url(place), f"{proxy.name}, {version}: the link's address")
    check('class="warn" role="note"><p>' not in page, f"{proxy.name}: the page warns: {page}")
    check(client.phone(url)["version"], "discovery")
    pushes = int(world.simulator("pushes"))
    body = {"uuid": account.uuid, "device_id": DEVICE, "password": account.password, "ping": True}
    body["endpoint"] = world.simulator("endpoint", f"up{pushes}")
    check_equal(client.phone(url, json.dumps(body))["status"], "ok", "registration")
    world.simulator.wait("wait-pushes", pushes + 1, seconds=10, what="test push")
    account.wait_connected()
    account.send()
    account.wait_acks(1)
    # What Molly does each time it starts: nothing changes, nothing is sent.
    body["ping"] = False
    check_equal(client.phone(url, json.dumps(body))["status"], "ok", "registration again")
    check_equal(client.phone(url, json.dumps({**body, "uuid": "x"}))["status"], "invalid_uuid", "registration of nobody")


def statuses(world, proxy, address, requests):
    """Posts that many registrations of nobody from a local address, with an invented client; the set of statuses."""
    args = ["curl", "-s", "--http1.1", "--cacert", str(world.dir / "ca.pem"), "--interface", address, "-o", "/dev/null"]
    args += ["--resolve", f"{ROOT[0]}:{proxy.port}:127.0.0.1", "-w", "%{http_code}\n", "-d", "{}", "-H", "Content-Type: application/json"]
    args += ["-H", "X-Forwarded-For: 203.0.113.7"]
    done = subprocess.run([*args, f"{proxy.url(ROOT)}?[1-{requests}]"], capture_output=True, text=True)
    check(done.returncode == 0, f"{proxy.name}: {done.stderr}")
    return set(done.stdout.split())


class Echo:
    """A web server that answers with the headers it got, as JSON."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = json.dumps(self.headers.items()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    def __enter__(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return "{}:{}".format(*self.server.server_address)

    def __exit__(self, *_):
        self.server.shutdown()


def claims_do_not_count(world, name):
    """What a client claims of itself and of the address it asked for gets neither to the page nor to the daemon at all."""
    hostile = [f"{header}: {value}" for header, value in HOSTILE.items()]
    proxy = Proxy(world, name)
    for place in (ROOT, SUB_PATH):
        for version in ("http1.1", "http2"):
            status, page = Client(world, proxy, version).request(proxy.url(place), BROWSER, headers=hostile)
            check_equal((status, link_url(page)), (200, proxy.url(place)), f"{name}, {version}: a claimed address in the link")
            check("evil" not in page, f"{name}: a claim on the page: {page}")
    proxy.stop()
    with Echo() as upstream:
        proxy = Proxy(world, name, upstream=upstream)
        for place in (ROOT, SUB_PATH):
            _, text = Client(world, proxy, "http1.1").request(proxy.url(place), BROWSER, headers=hostile)
            got = json.loads(text)
            check("evil" not in text and "203.0.113.7" not in text, f"{name}: passes on what a client claims: {text}")
            check("forwarded" not in [header.lower() for header, _ in got], f"{name}: passes on Forwarded: {text}")
            clients = [value for header, value in got if header.lower() == "x-forwarded-for"]
            check_equal(clients, ["127.0.0.1"], f"{name}: whom it names")
        proxy.stop()


def run(world):
    origin = world.simulator("endpoint", "x").split("/push/")[0]
    daemon = Daemon(world, MOLLY_ALLOWED_ENDPOINTS=origin, MOLLY_TRUSTED_PROXIES='["127.0.0.1"]')
    for name in PROXIES:
        proxy = Proxy(world, name)
        for place in (ROOT, SUB_PATH):
            for version in ("http1.1", "http2"):
                link_a_phone(world, proxy, place, version)
        # Limits are kept for each phone, which only the proxy can name; what a client claims does not count.
        number = PROXIES.index(name)
        check("429" in statuses(world, proxy, f"127.0.1.{number}", 80), f"{name}: an invented address gets round the limit")
        check("429" not in statuses(world, proxy, f"127.0.2.{number}", 20), f"{name}: all clients share one limit")
        proxy.stop()
        claims_do_not_count(world, name)
        print(f"ok: phones are linked through {name}, at the root and under a sub-path, with HTTP/1.1 and HTTP/2, whatever clients claim")
    daemon.stop()


if __name__ == "__main__":
    with World() as world:
        run(world)
