#!/usr/bin/env python3
"""The module evaluated without nixpkgs (render.nix): what it accepts and refuses, what it writes, and that the files made
from it are up to date. `module.py --write` writes them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

here = Path(__file__).resolve().parent
top = here.parent.parent
# Nix as root looks for build users, which evaluation does not need.
environment = os.environ | {"NIX_CONFIG": "build-users-group ="}
failures = []


def render(user, *more):
    command = ["nix-instantiate", "--eval", "--strict", "--json", str(here / "render.nix"), "--arg", "user", user, *more]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    return (json.loads(done.stdout), "") if done.returncode == 0 else (None, done.stderr)


def check(good, what):
    if not good:
        failures.append(what)
        print(f"FAILED: {what}")


REFUSED = [
    # (inside services.mollysocket, part of the message)
    ('vapid.keyFile = "/a"; vapid.encryptedKeyFile = "/b";', "more than one source of the key"),
    ('vapid.keyFile = "/a"; vapid.credential = "b";', "more than one source of the key"),
    ('vapid.keyFile = "/a"; settings.vapid_key_file = "/b";', "more than one source of the key"),
    ('settings.vapid_privkey = "x";', "everybody on this host could read the key"),
    ('settings.allowed_endpoints = [ "https://me:pw@ntfy.example" ];', "could read the password"),
    ('allowedEndpoints = [ "*" "https://me:pw@ntfy.example/x" ];', "could read the password"),
    ('vapid.keyFile = "/nix/store/x";', "is in the Nix store"),
    ("vapid.encryptedKeyFile = ./render.nix;", "is in the Nix store"),
    ('environmentFile = "/nix/store/x";', "is in the Nix store"),
    ('settings.vapid_key_file = "/nix/store/x";', "is in the Nix store"),
    ('vapid.keyFile = "relative";', "vapid.keyFile: not a path or null"),
    ("settings.port = 443;", "no right to ports below 1024"),
    ("settings.port = 65536;", "settings.port: not a port"),
    ('settings.port = "8020";', "settings.port: not a port"),
    ('settings.public_url = "http://molly.example/";', "must begin with https://"),
    ('settings.allowed_uuids = [ "a" ]; allowedUuids = [ "b" ];', "set allowedUuids or settings.allowed_uuids"),
    ('settings.allowed_endpoints = [ "https://a" ]; allowedEndpoints = [ "https://b" ];', "set allowedEndpoints or"),
    ("nginx.enable = true;", "nginx.virtualHost: say which"),
    ("caddy.enable = true;", "caddy.virtualHost: say which"),
    ('nginx = { enable = true; virtualHost = "a"; }; settings.webserver = false;', "nothing to pass requests to"),
    ('settings.signal_env = "prod";', 'settings.signal_env: not a "production" or "staging"'),
    ("settings.max_accounts = -1;", "not a natural number"),
    ("enabled = true;", "the option services.mollysocket.enabled does not exist"),
    ("instances.a = { };", "the same settings.port (8020 8020)"),
    ('instances."A b" = { settings.port = 8021; };', "small letters, digits and hyphens"),
    ("instances.this-name-is-far-too-long = { settings.port = 8021; };", "at most 19"),
    ('instances.a = { settings.port = 8021; vapid.keyFile = "/a"; vapid.credential = "b"; };', "instances.a.vapid: there is more"),
    ('nginx = { enable = true; virtualHost = "m"; }; instances.a = { settings.port = 8021; nginx = { enable = true; virtualHost = "m"; }; };', "same place of a virtual host"),
    ('caddy = { enable = true; virtualHost = "m"; location = "/molly"; }; instances.a = { settings.port = 8021; caddy = { enable = true; virtualHost = "m"; location = "/molly/"; }; };', "same place of a virtual host"),
    ("instances.admin = { settings.port = 8021; };", "have the same name, mollysocket-admin"),
    ('adminGroup = "mollysocket";', "have the same name, mollysocket."),
    ('nginx = { enable = true; virtualHost = "m"; location = "molly/"; };', "nginx.location must begin with /"),
    ('nginx = { enable = true; virtualHost = "m"; location = "/a { }"; };', "nginx.location must begin with /"),
    ('caddy = { enable = true; virtualHost = "m"; location = ""; };', "caddy.location must begin with /"),
    ('vapid.credential = "/run/secrets/k";', "vapid.credential is the name of a credential"),
    ('vapid.credential = "a:b";', "vapid.credential is the name of a credential"),
    ('settings.db = "/srv/m.db";', "settings.db: the service can write only below /var/lib/mollysocket;"),
    ('settings.db = "/var/lib/mollysocket-a/m.db";', "settings.db: the service can write only"),
    ('settings.db = "../m.db";', "settings.db: the service can write only"),
    ('settings.db = "/var/lib/mollysocket/../m.db";', "settings.db: the service can write only"),
    ('settings.admin_socket = "/run/m.sock";', "settings.admin_socket: the service can write only"),
    ('settings.vapid_key_file = "/etc/k";', "set vapid.keyFile instead"),
    ('settings.heartbeat_url = "https://me:pw@status.example/x";', "MOLLY_HEARTBEAT_URL"),
    ('settings.signal_url = "wss://me:pw@chat.example/";', "MOLLY_SIGNAL_URL"),
    ('settings.public_url = "https://me:pw@molly.example/";', "phones send no user or password"),
    ('package = { type = "derivation"; outPath = "/p"; name = "mollysocket"; version = "1.7.1"; };', "package is mollysocket 1.7.1, but this module needs 2.0 or later"),
]

# (inside services.mollysocket, [(section of the output, regular expression that must match there, or with ! must not)])
ACCEPTED = [
    ("", [("pages", "/usr/local/share"), ("units.mollysocket", "Type=notify"), ("units.mollysocket", "!LoadCredential"), ("units.mollysocket", "!MemoryMax")]),
    ('settings = { db = "/var/lib/mollysocket/m.db"; made_up_later = 3; };', [("files.mollysocket/config.toml", 'db = "/var/lib/mollysocket/m.db"\n(.*\n)*made_up_later = 3\n')]),
    ('settings = { db = "m..db"; admin_socket = "/run/mollysocket/a.sock"; vapid_key_file = "/run/credentials/mollysocket.service/k"; };', [("files.mollysocket/config.toml", 'db = "m..db"')]),
    ('settings = { heartbeat_url = "https://status.example/a@b"; signal_url = "wss://chat.example/?a@b"; };', [("files.mollysocket/config.toml", "a@b")]),
    ('vapid.keyFile = "/run/secrets/k";', [("units.mollysocket", "LoadCredential=vapid.key:/run/secrets/k\n"), ("files./usr/local/lib/mollysocket-as-service", "'LoadCredential=vapid.key:/run/secrets/k'")]),
    ('vapid.encryptedKeyFile = "/etc/k.cred";', [("units.mollysocket", "LoadCredentialEncrypted=vapid.key:/etc/k.cred\n")]),
    ('vapid.credential = "molly";', [("units.mollysocket", "LoadCredential=vapid.key:molly\n")]),
    ('environmentFile = "/run/secrets/e";', [("units.mollysocket", "EnvironmentFile=/run/secrets/e\n")]),
    ('logLevel = "debug";', [("units.mollysocket", "RUST_LOG=debug")]),
    ('resources = { memoryHigh = "200M"; memoryMax = "300M"; cpuQuota = "50%"; };', [("units.mollysocket", "CPUQuota=50%\n(.*\n)*MemoryHigh=200M\nMemoryMax=300M\n")]),
    ("blockedAddresses = [ ];", [("units.mollysocket", "!IPAddressDeny")]),
    ('allowedUuids = [ "u" ]; allowedEndpoints = [ "https://e" ];', [("files.mollysocket/config.toml", 'allowed_endpoints = \\["https://e"\\]\nallowed_uuids = \\["u"\\]\n'), ("triggers.mollysocket.restartTriggers", "!allowed")]),
    ('settings.user_agents = [ "A/1" ];', [("files.mollysocket/config.toml", 'user_agents = \\["A/1"\\]')]),
    ('openFirewall = true; settings.host = "0.0.0.0";', [("firewall", "8020"), ("warnings", "!openFirewall")]),
    ("openFirewall = true;", [("warnings", "openFirewall opens port 8020, but settings.host is 127.0.0.1")]),
    # What nixpkgs' module and the reference take.
    ('settings = { signal_env = "Production"; environment = "prod"; strategy = "x"; };', [("files.mollysocket/config.toml", 'signal_env = "Production"\n')]),
    ("openFirewall = true; settings.webserver = false;", [("firewall", "!8020")]),
    ('instances.a = { settings.port = 8021; settings.host = "::"; openFirewall = true; };', [("units.mollysocket-a", "StateDirectory=mollysocket-a\n"), ("units.mollysocket-a", "MOLLY_CONF=/etc/mollysocket-a/config.toml"), ("firewall", "8021"), ("firewall", "!8020")]),
    ("instances.a = { enable = false; };", [("units", "!mollysocket-a")]),
    ('caddy = { enable = true; virtualHost = "m"; location = "/molly"; };', [("caddy.m.extraConfig", r"path /molly/\* /molly\n(.*\n)*  uri strip_prefix /molly\n  reverse_proxy 127.0.0.1:8020 "), ("caddy.m.extraConfig", r"header_up -Forwarded\n +header_up -X-Forwarded-Prefix\n")]),
    ('caddy = { enable = true; virtualHost = "m"; }; settings.host = "::";', [("caddy.m.extraConfig", r"reverse_proxy \[::1\]:8020 "), ("caddy.m.extraConfig", "!strip_prefix")]),
    # The daemon at / would take what is for the others.
    (
        'caddy = { enable = true; virtualHost = "m"; }; instances.a = { settings.port = 8021; caddy = { enable = true; virtualHost = "m"; location = "/molly"; }; };'
        ' instances.b = { settings.port = 8022; caddy = { enable = true; virtualHost = "m"; location = "/molly/b/"; }; };',
        [("caddy.m.extraConfig", r"path /molly/b/\* /molly/b\n(.*\n)*.*path /molly/\* /molly\n(.*\n)*.*path /\* \n")],
    ),
]
NGINX = 'services.nginx.virtualHosts.m = { sslCertificate = "/c"; sslCertificateKey = "/k"; };'


def look(machine, path):
    # Names of units and files hold dots, so only known prefixes are split off.
    head, _, rest = path.partition(".")
    value = machine[head]
    if head == "caddy" or head == "triggers":
        first, _, second = rest.partition(".")
        value = value[first][second]
    elif rest:
        value = value[rest]
    return value if isinstance(value, str) else json.dumps(value)


def programs(script):
    """What a script of simple commands runs: the first word of each, and the one after `--`."""
    for line in script.replace("\\\n", " ").splitlines():
        words = line.removeprefix("exec ").split()
        if words and not words[0].startswith("#"):
            yield words[0]
            if "--" in words:
                yield words[words.index("--") + 1]


def as_service(machine):
    """What sudo lets others run as root finds nothing by PATH, which may be theirs."""
    scripts = [machine["files"].get(command, "") for rule in machine["sudo"] for command in rule["commands"]]
    check(machine["sudo"] == machine["sudoRs"], "sudo and sudo-rs have the same rules")
    check(len(scripts) == len(machine["units"]) and all(scripts), "one script that may be run as root for each daemon")
    for script in scripts:
        found = list(programs(script))
        check(len(found) == 2 and all(name.startswith("/") for name in found), f"run as root by a bare name: {found}")
        check("$(" not in script and "`" not in script, f"runs something more: {script}")


def configurations():
    for inside, message in REFUSED:
        machine, error = render(f"{{ services.mollysocket = {{ enable = true; {inside} }}; }}")
        check(machine is None and message in error, f"not refused with {message!r}: {inside}\n{error[-400:]}")
    for inside, expected in ACCEPTED:
        machine, error = render(f"{{ services.mollysocket = {{ enable = true; {inside} }}; }}")
        check(machine is not None, f"refused: {inside}\n{error[-400:]}")
        if machine:
            as_service(machine)
        for path, pattern in expected if machine else []:
            wanted = not pattern.startswith("!")
            found = re.search(pattern.lstrip("!"), look(machine, path)) is not None
            check(found == wanted, f"{path} of {inside}: {pattern}")
    for location, places in (("/", ["location / {"]), ("/molly", ["location /molly/ {", "location = /molly {"])):
        user = f'{{ services.mollysocket = {{ enable = true; nginx = {{ enable = true; virtualHost = "m"; location = "{location}"; }}; }}; {NGINX} }}'
        machine, error = render(user)
        check(machine is not None, error)
        check(all(machine["nginx"].count(place) == 1 for place in places), f"nginx: {machine['nginx']}")
        check(machine["nginx"].count("X-Original-URL $request_uri") == len(places), "nginx passes the original path on")
        for header in ('Forwarded ""', 'X-Forwarded-Prefix ""', "X-Forwarded-For $proxy_add_x_forwarded_for", "X-Forwarded-Host $http_host"):
            line = f"proxy_set_header {header};"
            check(machine["nginx"].count(line) == len(places), f"nginx leaves no header of clients: {line}")
    machine, _ = render("{ }")
    check(machine and not machine["units"] and not machine["files"] and not machine["sudo"], "off by default")
    accepted = readme() + scaling()
    print(f"ok: {len(REFUSED)} configurations refused, {len(ACCEPTED) + 3 + accepted} accepted")


def readme():
    """The README's examples are accepted without a warning and do what the text around them says. Returns how many."""
    short, whole = re.findall(r"```nix\n(.*?)```", (top / "README.md").read_text(), re.S)
    key = "/run/secrets/mollysocket-vapid"
    agenix = whole.replace("config.sops.secrets", "config.age.secrets").replace("sops.secrets", "age.secrets")
    check("With agenix the key is `config.age.secrets.mollysocket-vapid.path`" in (top / "README.md").read_text(), "agenix")
    enable = [line for line in short.splitlines() if line.startswith("services.")]
    check(len(short.splitlines()) == 3 and len(enable) == 1, f"three lines: {short}")
    for user in (f"{{ {enable[0]} }}", f"({whole}) {{ config.sops.secrets.mollysocket-vapid.path = \"{key}\"; }}", f"({agenix}) {{ config.age.secrets.mollysocket-vapid.path = \"{key}\"; }}"):
        machine, error = render(user)
        check(machine is not None, f"an example of the README: {error}")
        check(machine and not machine["warnings"] and list(machine["units"]) == ["mollysocket"], f"warnings: {user}")
        if machine and "keyFile" in user:
            check(f"LoadCredential=vapid.key:{key}\n" in machine["units"]["mollysocket"], "the key of the example")
            settings = machine["files"]["mollysocket/config.toml"]
            for line in ('allowed_uuids = ["0f2b1a3c-1111-4222-8333-444455556666"]', 'allowed_endpoints = ["https://ntfy.example.org"]', 'public_url = "https://molly.example.org/"'):
                check(line in settings, f"{line} in {settings}")
            check("server_name molly.example.org" in machine["nginx"] and "127.0.0.1:8020" in machine["nginx"], "the proxy of the example")
    return 3


def scaling():
    """The example of docs/scaling.md: two daemons behind one nginx, each with its own of everything but the key."""
    (example,) = re.findall(r"```nix\n(.*?)```", (top / "docs/scaling.md").read_text(), re.S)
    key = "/run/secrets/mollysocket-vapid"
    machine, error = render(f'({example}) {{ config.sops.secrets.mollysocket-vapid.path = "{key}"; }}')
    check(machine is not None, f"the example of docs/scaling.md: {error}")
    if machine:
        check(list(machine["units"]) == ["mollysocket-a", "mollysocket-b"] and not machine["warnings"], "its units")
        # The proxy's servers, each with the one place it passes to.
        servers = re.findall(r"server_name (\S+);(?:.|\n)*?proxy_pass (\S+);", machine["nginx"])
        check(servers == [("molly-a.example.org", "http://127.0.0.1:8021/"), ("molly-b.example.org", "http://127.0.0.1:8022/")], f"its proxy: {servers}")
        for name, port in (("a", 8021), ("b", 8022)):
            settings = machine["files"][f"mollysocket-{name}/config.toml"]
            check(f'public_url = "https://molly-{name}.example.org/"' in settings and f"port = {port}\n" in settings, settings)
            unit = machine["units"][f"mollysocket-{name}"]
            check(f"LoadCredential=vapid.key:{key}\n" in unit and f"StateDirectory=mollysocket-{name}\n" in unit, unit)
    return 1


def options_page(machine):
    everywhere = {option["name"].split(".")[2] for option in machine["options"]} - {"adminGroup", "instances"}
    check(set(machine["instance"]) == everywhere and machine["instance"]["enable"], "what the page says of instances")
    lines = [
        "# Options of `services.mollysocket`",
        "",
        "Made from the module; `tests-vm/offline/module.py --write` writes it. `instances.<name>` has the same options, but for",
        "`adminGroup` and `instances`; its `enable` is `true` by default.",
        "",
        "| option | type | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for option in machine["options"]:
        name = option["name"].removeprefix("services.mollysocket.")
        cells = [f"`{name}`", option["type"], f"`{option['default']}`", option["description"]]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


UNIT_HEAD = """\
# MollySocket on systemd 252 or later. Made from the NixOS module, where every line is explained (nix/service.nix);
# `tests-vm/offline/module.py --write` writes it. How to install it: docs/systemd.md.
"""


def packaged_unit():
    machine, _ = render('{ services.mollysocket = { enable = true; blockedAddresses = [ "multicast" ]; }; }')
    # The program looks at /etc/mollysocket/config.toml by itself, and does without; a named file must exist.
    return UNIT_HEAD + re.sub(r"Environment=.*MOLLY_CONF.*\n", "", machine["units"]["mollysocket"])


def keys():
    """The module knows the same keys, with the same defaults, as the program's sample configuration."""
    sample = (top / "config-sample.toml").read_text()
    known = set(re.findall(r"^#(\w+) = ", sample, re.M)) - {"vapid_privkey"}
    machine, _ = render("{ }")
    options = {o["name"].rsplit(".", 1)[1]: o["default"] for o in machine["options"] if ".settings." in o["name"]}
    check(known == set(options), f"keys of the sample and the module differ: {known ^ set(options)}")
    for key, default in options.items():
        if default != "null":
            first = re.search(rf"^#{key} = (.*)$", sample, re.M).group(1)
            check(json.loads(first) == json.loads(default), f"default of {key}: {first} and {default}")


def made_files():
    machine, error = render("{ services.mollysocket.enable = true; }")
    check(machine is not None, error)
    made = {"docs/nixos-options.md": options_page(machine), "packaging/systemd/mollysocket.service": packaged_unit()}
    for name, text in made.items():
        if "--write" in sys.argv:
            (top / name).write_text(text)
        check((top / name).exists() and (top / name).read_text() == text, f"{name} is out of date: run {sys.argv[0]} --write")


made_files()
keys()
configurations()
sys.exit(1 if failures else 0)
