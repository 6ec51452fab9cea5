"""The database on a file system without shared memory: FUSE with direct I/O, by bindfs."""

import os
import sqlite3
import subprocess
import sys
import time

from world import Account, Daemon, World, check, check_equal


def header(file):
    """Whether the header of a database says WAL."""
    return {b"\1\1": "rollback", b"\2\2": "WAL"}[file.read_bytes()[18:20]]


def run(world, mount, behind):
    origin = world.simulator("endpoint", "x").split("/push/")[0]
    settings = {"MOLLY_DB": str(mount / "db.sqlite"), "MOLLY_ALLOWED_ENDPOINTS": origin}
    accounts = []

    def register():
        account = Account(world)
        accounts.append(account)
        check_equal(account.register(world.simulator("endpoint", f"up{len(accounts)}")), "ok", "registration")

    def killed(daemon):
        daemon.process.kill()
        daemon.process.wait()
        check_equal(daemon.log().count("has no shared memory"), 1, "lines about it in the log")
        check_equal(header(behind / "db.sqlite"), "rollback", "header")

    daemon = Daemon(world, **settings)
    for _ in range(3):
        register()
        # Another process of ours, and a program that is not.
        listed = world.command("connection", "list", **settings)
        check_equal(listed.count("account: "), len(accounts), f"accounts: {listed}")
        rows = sqlite3.connect(mount / "db.sqlite").execute("SELECT count(*) FROM connections").fetchone()
        check_equal(rows[0], len(accounts), "rows")
    paused = accounts[0]
    paused.wait_connected()
    world.command("connection", "pause", paused.uuid, **settings)
    words = ("wait-connected", paused.uuid, 2)
    deadline = time.monotonic() + 20
    while world.simulator(*words, 0) is not None:
        check(time.monotonic() < deadline, "the pause is not noticed")
        time.sleep(0.1)
    killed(daemon)

    # What another file system, or a version that did not look, left in write-ahead mode.
    left = sqlite3.connect(behind / "db.sqlite")
    check_equal(left.execute("PRAGMA journal_mode = WAL").fetchone()[0], "wal", "journal mode")
    left.close()
    daemon = Daemon(world, **settings)
    register()
    accounts[1].wait_connected()
    accounts[1].send()
    accounts[1].wait_acks(1)
    killed(daemon)
    database = sqlite3.connect(mount / "db.sqlite")
    check_equal(database.execute("PRAGMA integrity_check").fetchone()[0], "ok", "integrity")
    check_equal(database.execute("SELECT count(*) FROM connections").fetchone()[0], 4, "rows after kill -9")
    database.close()
    # Elsewhere it is a database like any other: who only looks leaves it as it is, who writes has it as usual.
    world.command("connection", "list", MOLLY_DB=str(behind / "db.sqlite"))
    check_equal(header(behind / "db.sqlite"), "rollback", "header after a look")
    world.command("connection", "resume", paused.uuid, MOLLY_DB=str(behind / "db.sqlite"))
    check_equal(header(behind / "db.sqlite"), "WAL", "header")
    print("ok: without shared memory the database keeps its promises")


with World() as world:
    mount, behind = world.dir / "mount", world.dir / "behind"
    mount.mkdir()
    behind.mkdir()
    # Nothing cached, because the directory behind is changed as well.
    options = "direct_io,attr_timeout=0,entry_timeout=0,negative_timeout=0"
    mounted = subprocess.run(["bindfs", "-o", options, behind, mount], capture_output=True, text=True)
    if mounted.returncode != 0:
        why = mounted.stderr.strip().splitlines()[-1:] or ["bindfs failed"]
        print(f"note: no FUSE file system can be mounted here ({why[0]}); the database was not tried on one")
        sys.exit(1 if os.environ.get("MOLLYSOCKET_ALL") == "1" else 0)
    try:
        run(world, mount, behind)
    finally:
        # Lazily, because after a failure something may still have a file open.
        subprocess.run(["umount", "-l", mount] if os.geteuid() == 0 else ["fusermount3", "-u", "-z", mount], check=True)
