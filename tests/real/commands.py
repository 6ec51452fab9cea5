"""The commands of README.md and docs/operations.md, as they stand there."""

import json
import os
import re
import shutil
import signal
import subprocess
import textwrap
import urllib.request
from pathlib import Path

from world import DEVICE, MOLLYSOCKET, Account, Daemon, World, check, check_equal, wait_for

ROOT = Path(__file__).resolve().parents[2]


def guide(page, heading):
    """The commands below a heading, a line each."""
    text = (ROOT / page).read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    # In a list they are indented.
    blocks = re.findall(r"^( *)```sh\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for _, block in blocks]


def shim(world, name, script):
    """A program of that name that comes before the system's; the PATH that has it."""
    place = world.dir / "bin"
    place.mkdir(exist_ok=True)
    (place / name).write_text(script)
    (place / name).chmod(0o755)
    return f"{place}:{os.environ['PATH']}"


def building(world):
    # The tests build without optimisation. What is only built here is checked, not linked: on older systems SQLite is
    # too old for it.
    cargo = f"""#!/usr/bin/env python3
import os, sys
args = [word for word in sys.argv[1:] if word != "--release"]
if args[0] == "build":
    args[0] = "check"
    os.environ["SQLITE3_NO_PKG_CONFIG"] = "1"
args.insert(1, "--quiet")
os.execv({shutil.which("cargo")!r}, ["cargo"] + args)
"""
    path = shim(world, "cargo", cargo)
    (build,) = guide("README.md", "Building")
    check_equal(len(build.splitlines()), 3, "ways to build")
    done = subprocess.run(["bash", "-euc", build], cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    check(done.returncode == 0, f"Building: {done.stderr}")

    (start,) = guide("README.md", "Quick start")
    run, tests = start.splitlines()
    check(tests.startswith("./test "), f"Quick start: {tests}")
    env = {**world.environment(), "PATH": path, "HOME": os.environ["HOME"], "MOLLY_DB": str(world.dir / "quick.sqlite")}
    env |= {name: value for name, value in os.environ.items() if name.startswith(("CARGO", "RUSTUP"))}
    with open(world.dir / "quick.log", "wb") as log:
        server = subprocess.Popen(["bash", "-c", f"exec {run}"], cwd=ROOT, env=env, stderr=log, stdin=subprocess.DEVNULL)
    world.processes.append(server)
    found = wait_for(lambda: re.search(r"listening on +(\S+)", (world.dir / "quick.log").read_text()), 120, "start")
    with urllib.request.urlopen(found[1], timeout=5) as page:
        check("mollysocket://link?" in page.read().decode(), "the link page")
    # Ctrl-C.
    server.send_signal(signal.SIGINT)
    check_equal(server.wait(10), 0, "exit code of the server")
    print("ok: the ways to build and to start that the README tells")


def building_with_an_old_sqlite(world):
    tell = world.dir / "pkg-config"
    tell.write_text('#!/bin/sh\ncase "$*" in *--modversion*) echo 3.40.1 ;; *) echo -lsqlite3 ;; esac\n')
    tell.chmod(0o755)
    build = ["cargo", "check", "--quiet", "--no-default-features", "--features", "rustls"]
    done = subprocess.run(build, cwd=ROOT, env={**os.environ, "PKG_CONFIG": str(tell)}, capture_output=True, text=True)
    said = all(words in done.stderr for words in ("3.40.1", "3.44.0", "bundled-sqlite"))
    check(done.returncode != 0 and said, f"an old SQLite: {done.stderr}")
    print("ok: a SQLite that is too old is told before it is linked")


def linking(world):
    (line,) = guide("README.md", "Link the phone")
    account = Account(world)
    # Characters that a shell would take for its own.
    endpoint = world.simulator("endpoint", "up1") + "?up=1&two=$2"
    pasted = f"connection add {account.uuid} {DEVICE} {account.password} {endpoint}\n"
    path = shim(world, "mollysocket", f"#!/bin/sh\nexec {MOLLYSOCKET} \"$@\"\n")
    origin = endpoint.split("/push/")[0]
    daemon = Daemon(world, MOLLY_ALLOWED_ENDPOINTS=origin)
    env = {**world.environment(MOLLY_ALLOWED_ENDPOINTS=origin), "PATH": path}
    done = subprocess.run(["bash", "-euc", line], cwd=world.dir, env=env, input=pasted, capture_output=True, text=True)
    check(done.returncode == 0, f"{line}: {done.stdout}{done.stderr}")
    world.simulator.wait("wait-pushes", 1, seconds=10, what="test push")
    account.wait_connected()
    check(endpoint in world.command("connection", "list"), "the endpoint as it was given")
    daemon.stop()
    print("ok: the line that links an account by hand")


def alerting(world):
    (script,) = guide("docs/operations.md", "Alerts")
    alert = world.dir / "alert"
    alert.write_text(script)
    alert.chmod(0o755)
    path = shim(world, "mail", f'#!/bin/sh\nprintf "%s\\n" "$@" >{world.dir}/mail; cat >>{world.dir}/mail\n')
    event = json.dumps({"event": "well", "account": {}})
    subprocess.run([alert], input=event, text=True, check=True, env={**os.environ, "PATH": path})
    sent = (world.dir / "mail").read_text()
    check("admin@example.org" in sent and event in sent, f"mail: {sent}")
    print("ok: the example of an alert passes on what it gets")


def moving(world):
    """Each block on the server it is for, in the order of the page, while both servers run."""
    export, import_, remove = guide("docs/operations.md", "Moving accounts between servers")
    path = shim(world, "mollysocket", f'#!/bin/sh\nexec {MOLLYSOCKET} "$@"\n')
    endpoint = world.simulator("endpoint", "moving")
    old = {"MOLLY_DB": str(world.dir / "old.sqlite"), "MOLLY_ALLOWED_ENDPOINTS": json.dumps([endpoint])}
    new = old | {"MOLLY_DB": str(world.dir / "new.sqlite"), "MOLLY_VAPID_KEY_FILE": old["MOLLY_DB"] + ".vapid"}
    first = Daemon(world, **old)
    account = Account(world)

    def run(commands, settings):
        env = {**world.environment(**settings), "PATH": path}
        script = commands.replace("UUID", account.uuid)
        done = subprocess.run(["bash", "-euc", script], cwd=world.dir, env=env, capture_output=True, text=True)
        check(done.returncode == 0, f"{script}: {done.stderr}")
        check(account.password not in done.stdout + done.stderr, "a password is shown")

    check_equal(account.register(endpoint), "ok", "registration")
    account.wait_connected()
    run(export, old)
    file = world.dir / "account.json"
    check_equal(file.stat().st_mode & 0o777, 0o600, "mode of the file")
    # Signal keeps it meanwhile.
    wait_for(lambda: world.simulator("wait-connected", account.uuid, DEVICE, 0) is None, 5, "pause")
    account.send()
    second = Daemon(world, **new)
    run(import_, new)
    account.wait_acks(1)
    check(not file.exists(), "the file with the secrets is still there")
    run(remove, old)
    account.send()
    account.wait_acks(2)
    for daemon in (first, second):
        daemon.stop()
    print("ok: an account moves to another server by the commands of the page, and loses no wake-up")


if __name__ == "__main__":
    with World() as world:
        building(world)
        building_with_an_old_sqlite(world)
        linking(world)
        alerting(world)
        moving(world)
