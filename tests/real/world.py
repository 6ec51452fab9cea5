"""The daemon, the simulated Signal and the phone's side of HTTP, for the scripts beside this file."""

import contextlib
import http.client
import json
import os
import queue
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

MOLLYSOCKET = os.environ["MOLLYSOCKET"]
SIMULATOR = os.environ["SIMULATOR"]
# What Molly sends: OkHttp with Signal's User-Agent, and no Accept header.
PHONE = {"User-Agent": "Signal-Android/8.19.2 Android/36", "Accept-Encoding": "gzip"}
DEVICE = 2


class Failed(Exception):
    """Something is not as it must be."""


def check(condition, what):
    """Fails with `what` unless the condition holds."""
    if not condition:
        raise Failed(what)


def check_equal(got, want, what):
    """Fails unless both are equal, and shows them."""
    check(got == want, f"{what}: got {got!r}, want {want!r}")


def wait_for(condition, seconds, what):
    """The first true value of `condition`, polled; fails after that many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        check(time.monotonic() < deadline, f"{what}: not within {seconds} s")
        time.sleep(0.05)


def free_port():
    """A port nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class World:
    """A directory, a simulated Signal, a certificate authority, and processes that end with it."""

    def __init__(self):
        self.dir = Path(tempfile.mkdtemp(prefix="mollysocket-real-"))
        self.processes = []
        self.simulator = Simulator(self)
        self.make_certificate()
        self.daemon = None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _trace):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        if error is not None:
            for log in sorted(self.dir.glob("*.log")):
                print(f"--- {log.name}\n{log.read_text(errors='replace')}", file=sys.stderr)
        shutil.rmtree(self.dir, ignore_errors=True)

    def start(self, name, args, env=None, **options):
        """Starts a program whose output goes to NAME.log, unless told otherwise."""
        with open(self.dir / f"{name}.log", "ab") as log:
            options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **options}
            process = subprocess.Popen(args, cwd=self.dir, env=env, **options)
        self.processes.append(process)
        return process

    def make_certificate(self):
        """An authority and a certificate for localhost and the names of our examples, by openssl."""
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        names = "DNS:localhost,IP:127.0.0.1,DNS:example.org,DNS:molly.example.org"
        (self.dir / "names").write_text(f"subjectAltName={names}")
        for args in (
            ["req", "-x509", *new_key, "-days", "2", "-subj", "/CN=throw-away", "-keyout", "ca.key", "-out", "ca.pem"],
            ["req", *new_key, "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "request.pem"],
            ["x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
            + ["-extfile", "names", "-out", "cert.pem"],
        ):
            subprocess.run(["openssl", *args], cwd=self.dir, check=True, capture_output=True)
        (self.dir / "cert-with-key.pem").write_text("".join((self.dir / f).read_text() for f in ("cert.pem", "key.pem")))
        both = (self.dir / "ca.pem").read_text() + (self.simulator.dir / "ca.pem").read_text()
        (self.dir / "push-ca.pem").write_text(both)

    def environment(self, **settings):
        """What the daemon and its commands see."""
        return {
            "PATH": os.environ["PATH"],
            "MOLLY_PORT": "0",
            "MOLLY_DB": str(self.dir / "db.sqlite"),
            "MOLLY_SIGNAL_URL": (self.simulator.dir / "signal-url").read_text(),
            "MOLLY_SIGNAL_CA_FILE": str(self.simulator.dir / "ca.pem"),
            "MOLLY_PUSH_CA_FILE": str(self.dir / "push-ca.pem"),
            "RUST_LOG": "info",
            **settings,
        }

    def command(self, *args, **settings):
        """Runs a command of ours that must succeed; its standard output."""
        env = self.environment(**settings)
        done = subprocess.run([MOLLYSOCKET, *args], cwd=self.dir, env=env, capture_output=True, text=True)
        check(done.returncode == 0, f"mollysocket {args[0]}: exit {done.returncode}: {done.stderr}")
        return done.stdout

    def on_terminal(self, *args):
        """The same on a terminal, which understands colours."""
        ours, theirs = os.openpty()
        env = self.environment(TERM="xterm")
        process = subprocess.Popen([MOLLYSOCKET, *args], cwd=self.dir, env=env, stdout=theirs, stdin=subprocess.DEVNULL)
        os.close(theirs)
        said = b""
        with open(ours, "rb", buffering=0) as terminal:
            # A terminal that nobody has open any more is an error to read from.
            with contextlib.suppress(OSError):
                while more := terminal.read(65536):
                    said += more
        check_equal(process.wait(), 0, f"mollysocket {args[0]}")
        return said.decode().replace("\r\n", "\n")


class Simulator:
    """The simulated Signal and push server, see sim/src/bin/simulator.rs."""

    def __init__(self, world):
        self.dir = world.dir / "simulator"
        self.dir.mkdir()
        self.lock = threading.Lock()
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self.process = world.start("simulator", [SIMULATOR, str(self.dir)], **pipes)
        check_equal(self.process.stdout.readline().strip(), "ready", "simulator")

    def __call__(self, *words):
        """Carries out a command; what it answers after `ok`. Does not block others for long: commands that wait poll."""
        with self.lock:
            self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
            answer = self.process.stdout.readline().strip()
        kind, _, rest = answer.partition(" ")
        check(kind in ("ok", "no"), f"simulator: {' '.join(map(str, words))}: {answer}")
        return rest if kind == "ok" else None

    def wait(self, *words, seconds, what):
        """Repeats a waiting command, which gets a time-out of 0, until it says yes."""
        wait_for(lambda: self(*words, 0) is not None, seconds, what)


class Account:
    """A Signal account with a linked device."""

    def __init__(self, world):
        self.world = world
        self.uuid = str(uuid.uuid4())
        self.password = secrets.token_hex(15) + "+/=="
        world.simulator("add", self.uuid, DEVICE, self.password)

    def register(self, endpoint, ping=False):
        """Posts the registration as Molly does; the status the app would show."""
        body = {"uuid": self.uuid, "device_id": DEVICE, "password": self.password, "endpoint": endpoint, "ping": ping}
        return self.world.daemon.post(body)

    def send(self):
        """An urgent message for the account."""
        self.world.simulator("send", self.uuid, DEVICE)

    def counters(self):
        """What the simulated Signal counted for the device."""
        words = self.world.simulator("counters", self.uuid, DEVICE).split()
        return {name: int(value) for name, value in (word.split("=") for word in words)}

    def wait_connected(self):
        self.world.simulator.wait("wait-connected", self.uuid, DEVICE, seconds=10, what="connection to Signal")

    def wait_acks(self, n, seconds=10):
        self.world.simulator.wait("wait-acks", self.uuid, DEVICE, n, seconds=seconds, what=f"{n} acks")


class Daemon:
    """`mollysocket server`."""

    def __init__(self, world, **settings):
        name = f"daemon-{len(world.processes)}"
        self.log_file = world.dir / f"{name}.log"
        env = world.environment(**settings)
        self.process = world.start(name, [MOLLYSOCKET, "server"], env)
        found = wait_for(lambda: re.search(r"listening on +http://([^/]+)/", self.log()), 10, "start of the daemon")
        self.address = found[1]
        world.daemon = self

    def log(self):
        return self.log_file.read_text()

    def request(self, method, path, body=None, headers=PHONE):
        """One request; (status, headers, text)."""
        connection = http.client.HTTPConnection(self.address, timeout=10)
        # Not by `request`, which adds headers Molly does not send.
        connection.putrequest(method, path, skip_accept_encoding=True, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()

    def post(self, registration):
        """Registers; the status the phone is told."""
        body = json.dumps(registration, separators=(",", ":")).encode()
        headers = {**PHONE, "Content-Type": "application/json; charset=utf-8"}
        status, _, text = self.request("POST", "/", body, headers)
        check_equal(status, 200, f"POST /: {text}")
        return json.loads(text)["mollysocket"]["status"]

    def stop(self):
        """SIGTERM; it must end by itself, and well."""
        self.process.terminate()
        check_equal(self.process.wait(10), 0, "exit code of the daemon")


class Subscriber:
    """The distributor app on the phone: it reads a topic of an ntfy server as a stream."""

    def __init__(self, world, port, topic):
        context = ssl.create_default_context(cafile=str(world.dir / "ca.pem"))
        self.connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=300)
        self.connection.request("GET", f"/{topic}/json")
        self.answer = self.connection.getresponse()
        check_equal(self.answer.status, 200, f"subscription to {topic}")
        check_equal(json.loads(self.answer.readline())["event"], "open", "first event")
        self.messages = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            while line := self.answer.readline():
                event = json.loads(line)
                if event["event"] == "message":
                    # ntfy says base64 where a body is not text: then it is not what was sent.
                    self.messages.put(event.get("encoding", "") + event["message"])
        except (OSError, ValueError, http.client.HTTPException):
            pass  # The server ended.

    def next(self, seconds):
        """The next message, byte for byte."""
        try:
            return self.messages.get(timeout=seconds)
        except queue.Empty:
            raise Failed(f"the subscriber got no message within {seconds} s") from None
