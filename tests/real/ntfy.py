"""A real ntfy server as the push server: what it accepts arrives byte for byte, and what it refuses arrives later.

Four servers, because each refuses for a reason of its own: none, 507 (nobody subscribed yet), 403 (access list) and 429
(too many requests). One daemon; the cases run at the same time, on the daemon's real retry clock."""

import http.client
import json
import os
import secrets
import ssl
import string
import subprocess
import sys
import threading
import time

from world import Account, Daemon, Failed, Subscriber, World, check, check_equal, free_port, wait_for

NTFY = os.environ["NTFY"]
TEST, WAKE = '{"test":true}', '{"urgent":true}'


class Ntfy:
    """An ntfy server with TLS on loopback."""

    def __init__(self, world, name, settings=""):
        self.world, self.name, self.port = world, name, free_port()
        self.origin = f"https://localhost:{self.port}"
        self.config = world.dir / f"{name}.yml"
        self.config.write_text(
            f'base-url: "{self.origin}"\n'
            f'listen-http: "-"\n'
            f'listen-https: "127.0.0.1:{self.port}"\n'
            f'cert-file: "{world.dir}/cert.pem"\n'
            f'key-file: "{world.dir}/key.pem"\n'
            f'cache-file: ""\n{settings}'
        )
        world.start(name, [NTFY, "serve", "--config", str(self.config)])
        wait_for(self.is_up, 20, f"start of ntfy ({name})")

    def is_up(self):
        try:
            return self.get("/v1/health") == 200
        except OSError:
            return False

    def get(self, path):
        """The status of a GET."""
        context = ssl.create_default_context(cafile=str(self.world.dir / "ca.pem"))
        connection = http.client.HTTPSConnection("localhost", self.port, context=context, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def endpoint(self, topic):
        """What the ntfy app hands to Molly."""
        return f"{self.origin}/{topic}?up=1"

    def subscribe(self, topic):
        return Subscriber(self.world, self.port, topic)


def topic():
    """A topic as the ntfy app names it: `up` and 12 characters. Only such ones can have a rate visitor."""
    return "up" + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(12))


def owed(world, account, server, status):
    """After a refusal: the reason is in the log, the message is not acknowledged, and nothing is disabled."""
    refusal = f"{server.origin} answered {status}"
    wait_for(lambda: f"push failed: {refusal}" in world.daemon.log(), 20, f"log line: {refusal}")
    counters = wait_for(lambda: (c := account.counters())["delivered"] == 1 and c, 10, "delivery")
    check_equal((counters["acked"], counters["unacked"], counters["open"]), (0, 1, 1), f"{status}: the debt")
    # The refusal in the log may be the test push's: the wake-up has its own first attempt within this time.
    time.sleep(2)
    counters = account.counters()
    check_equal((counters["acked"], counters["unacked"], counters["open"]), (0, 1, 1), f"{status}: the debt, later")


def paid(world, account, server, subscriber, seconds, seen=()):
    """The cause is gone: the wake-up arrives, once, and only then the acknowledgement."""
    for want in (*seen, WAKE):
        check_equal(subscriber.next(seconds), want, f"{server.name}: what the subscriber got")
    account.wait_acks(1)
    wait_for(lambda: f"pushes are accepted again by {server.origin}" in world.daemon.log(), 5, "log line: accepted again")
    counters = account.counters()
    check_equal((counters["acked"], counters["non_2xx"], counters["unacked"]), (1, 0, 0), f"{server.name}: counters")


def accepted(world, server):
    """200: the test push and each wake-up arrive as they were sent."""
    name, account = topic(), Account(world)
    subscriber = server.subscribe(name)
    status, headers, text = world.daemon.request("GET", "/")
    check_equal((status, headers.get_content_type()), (200, "application/json"), "discovery")
    check(isinstance(json.loads(text)["mollysocket"]["version"], str), f"discovery: {text}")
    check_equal(account.register(server.endpoint(name)), "ok", "registration")
    check_equal(subscriber.next(10), TEST, "push at the registration")
    account.wait_connected()
    for n in (1, 2, 3):
        account.send()
        check_equal(subscriber.next(15), WAKE, f"wake-up {n}")
        account.wait_acks(n)
    before = account.counters()
    check_equal((before["acked"], before["non_2xx"], before["duplicates"]), (3, 0, 0), "counters")
    check_equal(account.register(server.endpoint(name)), "ok", "the same registration again")
    check_equal(account.register(server.endpoint(name), ping=True), "ok", "registration with ping")
    check_equal(subscriber.next(10), TEST, "push for the ping, and none for the registration before it")
    check_equal(account.counters(), before, "counters: nothing of this touches the connection")
    check(subscriber.messages.empty(), "a push nobody asked for")


def nobody_subscribed(world, server):
    """507 until the phone subscribes."""
    name, account = topic(), Account(world)
    check_equal(account.register(server.endpoint(name)), "ok", "registration")
    account.wait_connected()
    account.send()
    owed(world, account, server, "507")
    subscriber = server.subscribe(name)
    paid(world, account, server, subscriber, 40)


def not_allowed(world, server):
    """403 until the access list allows the topic. The daemon asks again after a minute."""
    name, account = topic(), Account(world)
    check_equal(account.register(server.endpoint(name)), "ok", "registration")
    account.wait_connected()
    account.send()
    owed(world, account, server, "403")
    grant = [NTFY, "access", "--config", str(server.config), "everyone", "up*", "read-write"]
    subprocess.run(grant, check=True, capture_output=True)
    subscriber = server.subscribe(name)
    paid(world, account, server, subscriber, 90)


def too_many(world, server):
    """429, without Retry-After, until the server has forgiven."""
    name, account = topic(), Account(world)
    subscriber = server.subscribe(name)
    check_equal(account.register(server.endpoint(name)), "ok", "registration")
    check_equal(subscriber.next(10), TEST, "push at the registration")
    account.wait_connected()
    wait_for(lambda: server.get(f"/{topic()}/json?poll=1") == 429, 20, "429 from ntfy")
    account.send()
    owed(world, account, server, "429")
    paid(world, account, server, subscriber, 60)


def run(world):
    deny = f'auth-file: "{world.dir}/auth.db"\nauth-default-access: "deny-all"\n'
    cases = [
        (accepted, Ntfy(world, "ntfy")),
        (nobody_subscribed, Ntfy(world, "ntfy-507", "visitor-subscriber-rate-limiting: true\n")),
        (not_allowed, Ntfy(world, "ntfy-403", deny)),
        (too_many, Ntfy(world, "ntfy-429", "visitor-request-limit-burst: 6\nvisitor-request-limit-replenish: 6s\n")),
    ]
    allowed = json.dumps([server.origin for _, server in cases])
    daemon = Daemon(world, MOLLY_ALLOWED_ENDPOINTS=allowed)
    failures = []

    def attempt(case, server):
        started = time.monotonic()
        try:
            case(world, server)
            print(f"ok: ntfy: {case.__doc__.splitlines()[0]} ({time.monotonic() - started:.0f} s)", flush=True)
        except Exception as error:  # Whatever it is, the other cases and the clean-up go on.
            failures.append(f"{case.__name__}: {error!r}")

    threads = [threading.Thread(target=attempt, args=case) for case in cases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(not failures, "; ".join(failures))

    listed = json.loads(world.command("connection", "list", "--json", MOLLY_ALLOWED_ENDPOINTS=allowed))["accounts"]
    states = [(account["forbidden"], account["endpoint_gone"]) for account in listed]
    check_equal(states, [(False, False)] * len(cases), "accounts after all refusals")
    daemon.stop()
    log = daemon.log()
    for account in listed:
        path = account["endpoint"].partition("/up")[2].partition("?")[0]
        check(path and path not in log, "the log holds the path of an endpoint")
    check("vapid t=" not in log, "the log holds a token")
    print("ok: ntfy: nothing was disabled, and the log holds no secret")


with World() as world:
    try:
        run(world)
    except Failed as failed:
        print(f"FAILED: ntfy: {failed}", file=sys.stderr)
        raise
