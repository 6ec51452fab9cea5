"""The container image, its compose file, quadlet and Kubernetes manifests, and the OpenRC service, with real engines.

The image is built from our Containerfile with a base made from Debian's archive, because registries may be out of reach;
in the place of the compiler is the binary that the other tests use. CONTAINERS is a directory for the engine's files."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import yaml
from kubectl import dry_run
from world import MOLLYSOCKET, check, check_equal, free_port, wait_for

ROOT = Path(__file__).resolve().parents[2]
PLACE = Path(os.environ["CONTAINERS"])
KUBECTL = os.environ["KUBECTL"]
BIN = Path(sys.executable).parent
IMAGE, BASE, COMPILER = "localhost/mollysocket", "localhost/mollysocket-test-base", "localhost/mollysocket-test-compiler"
HEALTHCHECK = ["CMD", "mollysocket", "health"]
# The storage is our own: no other container of this machine is touched.
ENGINE = [shutil.which("podman") or "podman", "--root", PLACE / "root", "--runroot", PLACE / "run", "--runtime", "runc"]
ENGINE += ["--cgroup-manager", "cgroupfs", "--events-backend", "file"]
# Limits as they are: not every machine lets root raise them.
HERE = ["--network=host", "--ulimit", "nofile=1024:4096", "--ulimit", "nproc=1000:1000"]


def guide(heading):
    """The commands below a heading of docs/containers.md."""
    text = (ROOT / "docs/containers.md").read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return "\n".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def as_written(commands):
    """Runs commands of the guide with a `podman` that uses our storage and images."""
    shims = PLACE / "bin"
    shims.mkdir(exist_ok=True)
    build = ["--isolation=chroot", "--build-arg", f"RUST={COMPILER}", "--build-arg", f"BASE={BASE}"]
    # What a network of its own would need of the kernel is left out: containers share that of this machine.
    script = f"""#!/usr/bin/env python3
import os, sys
engine, args = {list(map(str, ENGINE))!r}, sys.argv[1:]
if args[0] == "network":
    sys.exit(0)
if args[0] == "build":
    args[1:1] = {build!r}
if args[0] in ("run", "create"):
    kept = []
    words = iter(args[1:])
    for word in words:
        if word in ("-p", "--network-alias"):
            next(words)
        elif not word.startswith(("--network=", "--network-alias=", "--net=", "--ip=")):
            kept.append(word)
    args[1:] = {HERE + ["--env=MOLLY_HOST=127.0.0.1", f"--env=MOLLY_PORT={free_port()}"]!r} + kept
os.execvp(engine[0], engine + args)
"""
    (shims / "podman").write_text(script)
    (shims / "podman").chmod(0o755)
    env = {**os.environ, "PATH": f"{shims}:{BIN}:{os.environ['PATH']}", "COMPOSE_PROJECT_NAME": "mollysocket-test"}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", commands], cwd=ROOT, env=env, capture_output=True, text=True, timeout=180)
    check(done.returncode == 0, f"{commands}: {done.stdout}{done.stderr}")
    return done.stdout


def podman(*args, ok=True, **options):
    """Runs podman; (exit code, both outputs)."""
    done = subprocess.run([*ENGINE, *args], capture_output=True, text=True, **options)
    text = done.stdout + done.stderr
    check(done.returncode == 0 or not ok, f"podman {' '.join(map(str, args))}: {text}")
    return done.returncode, text.strip()


def make_base():
    """A small Debian as the images we build on are, with OpenRC for its own test."""
    if podman("image", "exists", BASE, ok=False)[0] == 0:
        return
    tar = PLACE / "base.tar"
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates,openrc,procps", "trixie", tar]
    done = subprocess.run(command, capture_output=True, text=True)
    check(done.returncode == 0, f"mmdebstrap: {done.stderr}")
    podman("import", tar, BASE)
    tar.unlink()


def make_image():
    compiler = PLACE / "compiler"
    compiler.mkdir(exist_ok=True)
    (compiler / "mollysocket").write_bytes(Path(MOLLYSOCKET).read_bytes())
    cargo = "#!/bin/sh\nset -e\ntest -f Cargo.lock && test -f src/main.rs && test -d certs\n"
    # Cargo wants to see every member of the workspace.
    cargo += "for member in $(sed -n 's/^members = //p' Cargo.toml | tr -d '[],\"'); do test -f \"$member/Cargo.toml\"; done\n"
    (compiler / "cargo").write_text(cargo + "install -D /opt/mollysocket target/release/mollysocket\n")
    text = f"FROM {BASE}\nCOPY mollysocket /opt/\nCOPY --chmod=755 cargo /usr/local/bin/\n"
    (compiler / "Containerfile").write_text(text)
    build = ["build", "--quiet", "--format=docker", "--isolation=chroot"]
    podman(*build, "-t", COMPILER, compiler)
    as_written(guide("The image"))


def discover(port):
    """The version the daemon at this port tells, or nothing."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/discover", timeout=2) as answer:
            return json.load(answer)["mollysocket"]["version"]
    except OSError:
        return None


class Container:
    """A running container that is removed at the end. It is ready when `ready`, which is given it, says something true."""

    def __init__(self, name, *args, ready=lambda container: discover(container.port), **settings):
        self.name, self.port, self.ready = name, free_port(), ready
        settings = {"MOLLY_HOST": "127.0.0.1", "MOLLY_PORT": str(self.port), **settings}
        env = [word for pair in settings.items() for word in ("--env", "=".join(pair))]
        podman("run", "-d", "--name", name, *HERE, *env, *args)

    def __enter__(self):
        try:
            wait_for(lambda: self.ready(self), 30, f"{self.name}: ready")
        except BaseException:
            print(podman("logs", self.name, ok=False)[1], file=sys.stderr)
            podman("rm", "-f", self.name, ok=False)
            raise
        return self

    def __exit__(self, *_):
        podman("rm", "-f", "-v", "-t", "0", self.name, ok=False)

    def run(self, *command, ok=True):
        return podman("exec", self.name, *command, ok=ok)

    def health(self):
        """What `health` says in the container; (exit code, line)."""
        return self.run("mollysocket", "health", ok=False)

    def stop(self):
        start = time.monotonic()
        podman("stop", "-t", "20", self.name)
        check(time.monotonic() - start < 15, f"{self.name}: needs SIGKILL to stop")
        code = podman("inspect", "--format={{.State.ExitCode}}", self.name)[1]
        check_equal(code, "0", f"{self.name}: exit code")


def the_image():
    config = json.loads(podman("inspect", IMAGE)[1])[0]["Config"]
    check_equal(config["User"], "10001:10001", "user of the image")
    check_equal(config["Entrypoint"] + config["Cmd"], ["mollysocket", "server"], "command of the image")
    hardening = ["--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges"]
    volume = ["-v", "mollysocket-test:/data"]
    with Container("mollysocket-test", *hardening, *volume, IMAGE) as container:
        check_equal(container.run("id", "-u")[1], "10001", "user in the container")
        check(container.run("touch", "/x", ok=False)[0] != 0, "the root file system can be written")
        capabilities = re.search(r"CapEff:\s+(\w+)", container.run("cat", "/proc/1/status")[1])[1]
        check_equal(int(capabilities, 16), 0, "capabilities")
        check_equal(podman("healthcheck", "run", container.name)[0], 0, "healthcheck")
        key = container.run("cat", "/data/db.sqlite.vapid")[1]
        check_equal(container.run("stat", "-c", "%a", "/data/db.sqlite.vapid")[1], "600", "mode of the key")
        container.stop()
    with Container("mollysocket-test", *hardening, *volume, IMAGE) as container:
        check_equal(container.run("cat", "/data/db.sqlite.vapid")[1], key, "the key after an update")
    with Container("mollysocket-frozen", *hardening, IMAGE) as container:
        process = podman("inspect", "--format={{.State.Pid}}", container.name)[1]
        os.kill(int(process), 19)
        check(podman("healthcheck", "run", container.name, ok=False)[0] != 0, "a frozen daemon is called healthy")
        os.kill(int(process), 18)
    airgapped = (*hardening, *volume, "--env=MOLLY_WEBSERVER=false")
    with Container("mollysocket-airgapped", *airgapped, IMAGE, ready=lambda container: container.health()[0] == 0) as container:
        check(discover(container.port) is None, "there is a web server with MOLLY_WEBSERVER=false")
        check_equal(container.health()[1], "healthy: 0 accounts, Signal not needed", "health without a web server")
        container.stop()
        # The same database without its daemon.
        code, said = podman("run", "--rm", *HERE, *airgapped, "--entrypoint=mollysocket", IMAGE, "health", ok=False)
        check(code == 1 and "unhealthy: no server answers" in said, f"health of a daemon that was stopped: {code}, {said}")
    podman("volume", "rm", "mollysocket-test")
    print("ok: the image runs without root, capabilities and a writable root; healthy, stopped in order, its key kept")


def the_quadlet():
    """The guide's commands. A systemd whose services are containers needs a machine of its own: in its place stands a
    `systemctl` that runs Podman's generator, as systemd does, and shows the unit it is to start. What that unit would run
    is run here."""
    script = f"""
        set -e
        mkdir -p /clone /run/systemd/generator && cd /clone
        cp -r /ours/packaging .
        cat >/usr/local/bin/systemctl <<'END'
#!/bin/sh
case "$*" in
daemon-reload) exec /quadlet -no-kmsg-log /run/systemd/generator ;;
"start mollysocket") exec cat /run/systemd/generator/mollysocket.service ;;
*) echo "unexpected: systemctl $*"; exit 1 ;;
esac
END
        chmod 755 /usr/local/bin/systemctl
        {guide("Quadlet")}
    """
    mounts = ["-v", f"{ROOT}:/ours:ro", "-v", f"{Path(os.environ['QUADLET']).resolve()}:/quadlet:ro"]
    unit = podman("run", "--rm", *HERE, *mounts, BASE, "sh", "-c", script)[1]
    check("nsupported" not in unit, f"quadlet: {unit}")
    check("Type=notify" in unit, "the quadlet's unit does not wait until the daemon is ready")
    check("mollysocket health --live" in unit, "the quadlet kills the daemon for an outage of Signal")
    command = shlex.split(re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)[1])
    at = command.index("run")
    # What only systemd can give: its unit's control group and its notification socket.
    own = ("--name", "--cidfile", "--replace", "--rm", "--cgroups", "--sdnotify", "-d", "--publish")
    args, skip = [], False
    for word in command[at + 1 :]:
        option = word.split("=")[0]
        if not skip and option not in own:
            args.append(word)
        skip = not skip and option in ("--name", "--publish") and "=" not in word
    with Container("mollysocket-quadlet", *args) as container:
        check_equal(podman("healthcheck", "run", container.name)[0], 0, "healthcheck of the quadlet")
        check_equal(container.run("id", "-u")[1], "10001", "user in the quadlet's container")
    podman("volume", "rm", "-f", "mollysocket")
    print("ok: the quadlet, by the commands of the guide; the container of its unit runs")


def compose():
    try:
        said = as_written(guide("Compose"))
        check("mollysocket://link?" in said, f"the code of the guide: {said}")
        inside = podman("inspect", "mollysocket-test_mollysocket_1")[1]
        container = json.loads(inside)[0]
        check(container["HostConfig"]["ReadonlyRootfs"], "the root file system of the composed container can be written")
        check_equal(container["EffectiveCaps"] or [], [], "capabilities of the composed container")
        test = container["Config"].get("Healthcheck", {}).get("Test")
        check_equal(test, HEALTHCHECK, "health check of the composed container")
        check(container["HostConfig"]["Init"], "the composed container has no init")
    finally:
        as_written("podman-compose down -v")
    print("ok: compose.yaml, by the commands of the guide")


def the_manifests():
    for command in (
        [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"],
        [BIN / "kubernetes-validate", "--strict", *sorted(ROOT.glob("packaging/kubernetes/*.yaml"))],
    ):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        check(done.returncode == 0, f"{command[0].name}: {done.stdout}{done.stderr}")
    # Also where no container can be run. What the engine makes of it see below.
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["mollysocket"]
    check_equal(service.get("healthcheck", {}).get("test"), HEALTHCHECK, "health check in compose.yaml")
    check(service.get("init") is True, "compose.yaml asks for no init")
    every_pod_has_a_name()
    for manifest in sorted(ROOT.glob("packaging/kubernetes/*.yaml")):
        things = yaml.safe_load_all(manifest.read_text())
        groups = [(thing["apiVersion"].split("/")[:-1], thing) for thing in things]
        expected = [".".join([thing["kind"].lower(), *group]) + "/" + thing["metadata"]["name"] for group, thing in groups]
        check_equal(dry_run(KUBECTL, manifest), (expected, ""), f"kubectl create --dry-run=client of {manifest.name}")
    print("ok: compose.yaml and the Kubernetes manifests are valid")


def every_pod_has_a_name():
    """In instances.yaml what belongs to a pod is found by its name: the code it shows, a Service, a rule, a certificate."""
    things = list(yaml.safe_load_all((ROOT / "packaging/kubernetes/instances.yaml").read_text()))
    named = {(thing["kind"], thing["metadata"]["name"]): thing["spec"] for thing in things}
    instances, ingress = named["StatefulSet", "molly"], named["Ingress", "molly"]
    check(instances["serviceName"] == "molly" and named["Service", "molly"]["clusterIP"] == "None", "the headless Service")
    env = {each["name"]: each.get("value") for each in instances["template"]["spec"]["containers"][0]["env"]}
    rules = {rule["host"]: rule["http"]["paths"][0]["backend"]["service"]["name"] for rule in ingress["rules"]}
    check_equal(ingress["tls"][0]["hosts"], list(rules), "names in the certificate")
    pods = [f"molly-{number}" for number in range(instances["replicas"])]
    hosts = [env["MOLLY_PUBLIC_URL"].replace("$(POD_NAME)", pod).removeprefix("https://").rstrip("/") for pod in pods]
    check_equal(rules, dict(zip(hosts, pods)), "rules of the Ingress")
    labels = instances["template"]["metadata"]["labels"]
    check_equal(instances["selector"]["matchLabels"], labels, "labels of the pods")
    check_equal(named["Service", "molly"]["selector"], labels, "pods of the headless Service")
    ports = {port["name"] for port in instances["template"]["spec"]["containers"][0]["ports"]}
    for pod in pods:
        service = named["Service", pod]
        check_equal(service["selector"], {"statefulset.kubernetes.io/pod-name": pod}, f"the pod of Service {pod}")
        check({port["targetPort"] for port in service["ports"]} <= ports, f"the port of Service {pod}")


def openrc():
    """`rc-service` in a container of Debian with OpenRC, which is not its init there."""
    port = free_port()
    script = f"""
        set -e
        for place in daemons exclusive failed hotplugged inactive options scheduled started starting stopping tmp wasinactive; do
            mkdir -p "/run/openrc/$place"
        done
        touch /run/openrc/softlevel
        mkdir -p /clone/target/release && cd /clone
        cp -r /ours/packaging . && cp /binary target/release/mollysocket
        echo 'export MOLLY_PORT={port}' >/etc/conf.d/mollysocket
        printf 'rc_need="!net"\\nrc_ulimit="-n 4096"\\n' >>/etc/conf.d/mollysocket
        {guide("OpenRC")}
        for n in $(seq 100); do grep -qs 'listening on' /var/log/mollysocket.log && break; sleep 0.1; done
        cat /var/log/mollysocket.log
        rc-service mollysocket status
        stat -c 'state %U %a' /var/lib/mollysocket
        stat -c 'database %U %a' /var/lib/mollysocket/db.sqlite
        rc-service mollysocket healthcheck && echo 'healthy'
        daemon=$(pgrep -u mollysocket -x mollysocket)
        kill -9 "$daemon"
        for n in $(seq 150); do again=$(pgrep -u mollysocket -x mollysocket || true); [ -n "$again" ] && break; sleep 0.1; done
        [ "$again" != "$daemon" ] && [ -n "$again" ] && echo 'supervised'
        rc-service mollysocket stop
        pgrep -u mollysocket -x mollysocket || echo 'stopped'
    """
    mounts = ["-v", f"{ROOT}:/ours:ro", "-v", f"{MOLLYSOCKET}:/binary:ro"]
    text = podman("run", "--rm", *HERE, *mounts, BASE, "sh", "-c", script, timeout=120)[1]
    for line in ("status: started", "state mollysocket 700", "database mollysocket 600", "healthy", "supervised", "stopped"):
        check(line in text, f"OpenRC: no {line!r} in: {text}")
    print("ok: OpenRC starts, supervises and stops the daemon as its own user")


def left_out(why):
    """What a machine does not allow is said; with MOLLYSOCKET_ALL=1 it is a failure."""
    check(os.environ.get("MOLLYSOCKET_ALL") != "1", why)
    print(f"note: {why}; the image, compose.yaml, the quadlet and OpenRC were not tried")


def run():
    the_manifests()
    if os.geteuid() != 0:
        left_out("only root can run containers here")
        return
    PLACE.mkdir(parents=True, exist_ok=True)
    # Copies of everything are slower, but need nothing of the kernel.
    for driver in ("overlay", "vfs"):
        os.environ["STORAGE_DRIVER"] = driver
        if podman("info", ok=False)[0] == 0:
            break
    make_base()
    code, text = podman("run", "--rm", *HERE, BASE, "true", ok=False)
    if code != 0:
        left_out(f"this machine runs no containers ({text})")
        return
    make_image()
    the_image()
    compose()
    the_quadlet()
    openrc()


run()
