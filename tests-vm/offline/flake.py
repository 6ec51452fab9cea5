#!/usr/bin/env python3
"""The outputs of the flake, evaluated without nixpkgs (outputs.nix): all are there for both systems, and made of what they
should be made of."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

here = Path(__file__).resolve().parent
top = here.parent.parent
failures = []


def check(good, what):
    if not good:
        failures.append(what)
        print(f"FAILED: {what}")


command = ["nix-instantiate", "--eval", "--strict", "--json", str(here / "outputs.nix")]
outputs = json.loads(
    subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ | {"NIX_CONFIG": "build-users-group ="}).stdout
)
scenarios = {file.parent.name for file in here.parent.glob("scenarios/*/machine.nix")}
reboots = {file.parent.name for file in here.parent.glob("scenarios/*/after-reboot.sh")}
files = subprocess.run(["git", "-C", top, "ls-files", "--cached", "--others", "--exclude-standard"], check=True, capture_output=True, text=True).stdout.split()

# What is at the top level and named in Rust code as a file that is read.
level = {file.split("/")[0] for file in files}
rust = [(top / file).read_text() for file in files if file.endswith(".rs") and file.startswith(("src/", "sim/", "load/", "tests/", "examples/"))]
read = {name for text in rust for name in re.findall(r'(?:include_\w+!|join|read\w*)\(\s*"(?:\.\./)*([\w.-]+)|"(?:\.\./)*([\w-]+(?:/[\w/-]+)?\.\w+)"', text)}
named = {"Cargo.toml", "Cargo.lock", "src", "sim", "tests", "examples"} | {(one or other).split("/")[0] for one, other in read} & level
check({"packaging", "docs", "SECURITY.md", "config-sample.toml", "certs"} <= named, f"what is read: {named}")

check(outputs["inputs"] == ["nixpkgs"], "one input")
check(outputs["modules"] == ["default", "mollysocket"] and outputs["overlays"] == ["default"], "modules and overlays")
for system in ("x86_64-linux", "aarch64-linux"):
    packages, apps, checks = (outputs[kind][system] for kind in ("packages", "apps", "checks"))
    check({"default", "mollysocket", "static", "container", "demo", "simulator"} == set(packages), f"packages: {set(packages)}")
    default, static, container, demo = (packages[name] for name in ("default", "static", "container", "demo"))
    check(default == packages["mollysocket"] and default["version"] == re.search(r'^version = "(.*)"', (top / "Cargo.toml").read_text(), re.M)[1], "version")
    check(default["buildInputs"] == ["sqlite"] and default["buildNoDefaultFeatures"], "the system's SQLite")
    check(default["cargoLock"]["lockFile"].endswith("-Cargo.lock"), "the lock file is the repository's")
    check(static == default | {"buildInputs": ["sqlite, static"], "path": "/store/mollysocket-static"}, "static differs by its libraries alone")
    installed = re.findall(r"packaging/\S+", default["postInstall"])
    check(len(installed) == 4 and all(file in files for file in installed), f"man page and completions: {installed}")
    missing = [name for name in named if not any(path == name or path.startswith(f"{name}/") for path in default["src"])]
    check(not missing, f"sources and tests read what is not in the source of the package: {missing}")

    image = container["config"]
    check(container["contents"] == ["caCertificates"], "the image has certificates, and no shell")
    check(image["User"].split(":")[0].isdigit() and int(image["User"].split(":")[0]) > 0, "the image's user is not root")
    check(image["Entrypoint"] == ["/store/mollysocket-static/bin/mollysocket"] and image["Cmd"] == ["server"], "the image runs the static server, which brings no libraries along")
    owner = re.search(r"-o (\d+) -g (\d+) data", container["fakeRootCommands"])
    check(owner and ":".join(owner.groups()) == image["User"] and image["WorkingDir"] == "/data", "the user owns the data")

    check(apps["default"]["program"] == "/store/mollysocket/bin/mollysocket", "nix run")
    check(apps["demo"]["program"] == "/store/mollysocket-demo/bin/mollysocket-demo", "nix run .#demo")
    check(demo["cargoBuildFlags"] == ["--example", "demo"] and "bin/mollysocket-demo" in demo["installPhase"] and (top / "examples/demo.rs").exists(), "the demonstration")
    check(not packages["simulator"]["postInstall"], "the simulator brings no man page")

    tests = {name for name in checks if name.startswith(("vm-", "container-"))}
    wanted = {f"vm-{name}" for name in scenarios} | {f"container-{name}" for name in scenarios - reboots - {"credentials"}}
    check(tests == wanted, f"tests: {tests ^ wanted}")
    check({"package", "clippy", "format", "module-options-doc"} == set(checks) - tests, f"checks: {set(checks) - tests}")
    for name in tests:
        scenario = name.split("-", 1)[1]
        check(f"/{scenario}/test.sh" in checks[name]["testScript"] and checks[name]["machines"] == ["machine"], name)
        check(("after-reboot" in checks[name]["testScript"]) == (scenario in reboots), f"{name}: reboot")
    check(outputs["formatter"][system] == "nixfmt-tree" and "default" in outputs["devShells"][system], "formatter and shell")
print(f"ok: flake: {sum(len(outputs[kind][s]) for kind in ('packages', 'apps', 'checks') for s in outputs[kind])} outputs")
sys.exit(1 if failures else 0)
