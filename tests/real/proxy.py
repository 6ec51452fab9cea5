"""Real reverse proxies with the configurations of packaging/proxy, on ports of this test."""

import os
import re
import socket
from pathlib import Path

from world import check, free_port, wait_for

CONFIGURATIONS = Path(__file__).resolve().parents[2] / "packaging" / "proxy"
TOOLS = Path(os.environ.get("PROXIES", ""))
APACHE_MODULES = Path("/usr/lib/apache2/modules")
# https://molly.example.org/ and https://example.org/molly/ in every configuration.
ROOT, SUB_PATH = ("molly.example.org", "/"), ("example.org", "/molly/")


def replaced(text, *pairs):
    """The text with each left side, which must be there, replaced by the right one."""
    for old, new in pairs:
        check(old in text, f"{old!r} is not in the configuration")
        text = text.replace(old, new)
    return text


class Proxy:
    """A proxy in front of the daemon, or of `upstream`. `change` edits the configuration, to break it."""

    def __init__(self, world, name, change=lambda text: text, upstream=None):
        self.world, self.name, self.port = world, name, free_port()
        self.upstream = upstream or world.daemon.address
        self.dir = world.dir / f"{name}-{self.port}"
        (self.dir / "run").mkdir(parents=True)
        # Workers that leave root behind must get here.
        for place in (world.dir, self.dir, self.dir / "run"):
            place.chmod(0o777)
        self.process = world.start(f"{name}-{self.port}", getattr(self, name)(change), {**os.environ, "HOME": str(self.dir)})
        wait_for(self.listens, 20, f"start of {name}")

    def listens(self):
        check(self.process.poll() is None, f"{self.name} ended by itself")
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def url(self, place):
        host, path = place
        return f"https://{host}:{self.port}{path}"

    def stop(self):
        self.process.terminate()
        self.process.wait(10)

    def configuration(self, file, change, *pairs):
        """The packaged file with the addresses and certificates of this test."""
        text = (CONFIGURATIONS / file).read_text()
        return change(replaced(text, ("127.0.0.1:8020", self.upstream), *pairs))

    def certificates(self):
        return [(f"/etc/ssl/molly.{ours}", str(self.world.dir / file)) for ours, file in (("pem", "cert.pem"), ("key", "key.pem"))]

    def nginx(self, change):
        text = self.configuration(
            "nginx.conf", change, ("listen 443 ssl;", f"listen 127.0.0.1:{self.port} ssl http2;"), *self.certificates()
        )
        text = re.sub(r" *listen \[::\]:443 ssl;\n", "", text)
        temporary = "".join(f"{kind}_temp_path {self.dir}/run/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        head = f"pid {self.dir}/run/pid;\ndaemon off;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n"
        (self.dir / "nginx.conf").write_text(f"{head}{temporary}{text}\n}}\n")
        return [TOOLS / "nginx/usr/sbin/nginx", "-p", self.dir, "-c", self.dir / "nginx.conf", "-e", "stderr"]

    def caddy(self, change):
        cert, key = (self.world.dir / file for file in ("cert.pem", "key.pem"))
        hosts = [
            (f"\n{host} {{\n", f"\n{host}:{self.port} {{\n\tbind 127.0.0.1\n\ttls {cert} {key}\n") for host, _ in (ROOT, SUB_PATH)
        ]
        text = self.configuration("Caddyfile", change, *hosts)
        # Neither ports 80 and 2019 nor a certificate authority.
        (self.dir / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + text)
        return [TOOLS / "caddy/usr/bin/caddy", "run", "--adapter", "caddyfile", "--config", self.dir / "Caddyfile"]

    def apache(self, change):
        text = self.configuration("apache.conf", change, ("<VirtualHost *:443>", f"<VirtualHost *:{self.port}>"), *self.certificates())
        modules = ("mpm_event", "authz_core", "ssl", "socache_shmcb", "proxy", "proxy_http", "headers", "http2")
        lines = [f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so" for name in modules]
        lines += [f"Listen 127.0.0.1:{self.port}", f"PidFile {self.dir}/run/pid", f"DefaultRuntimeDir {self.dir}/run"]
        lines += ["ErrorLog /dev/stderr", "ServerName example.org", "Protocols h2 http/1.1"]
        if os.geteuid() == 0:
            lines += ["User nobody", "Group nogroup"]
        (self.dir / "apache.conf").write_text("\n".join(lines) + "\n" + text)
        return ["/usr/sbin/apache2", "-d", self.dir, "-f", self.dir / "apache.conf", "-D", "FOREGROUND"]

    def haproxy(self, change):
        text = self.configuration(
            "haproxy.cfg",
            change,
            ("bind :::443 v4v6 ssl", f"bind 127.0.0.1:{self.port} ssl"),
            ("/etc/ssl/molly-with-key.pem", str(self.world.dir / "cert-with-key.pem")),
        )
        (self.dir / "haproxy.cfg").write_text(text)
        return [TOOLS / "haproxy/usr/sbin/haproxy", "-db", "-f", self.dir / "haproxy.cfg"]
