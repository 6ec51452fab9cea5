"""py-vapid, not our own code, verifies the Authorization header: the one `vapid test` prints, and one of a real push."""

import base64
import json
import re
import time

from py_vapid import Vapid02
from world import Account, Daemon, World, check, check_equal


def verify(header, audience, public):
    """The signature is right, and the claims are what push servers ask for (RFC 8292)."""
    token, key = re.fullmatch(r"vapid t=([A-Za-z0-9_.-]+),k=([A-Za-z0-9_-]{87})", header).groups()
    check_equal(key, public, "the key in the header and the one in the link")
    check(Vapid02.verify(header), "py-vapid refuses the signature")
    claims = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    check_equal(claims["aud"], audience, "aud")
    check(0 < claims["exp"] - time.time() <= 24 * 3600, f"exp: {claims['exp']}")
    check(re.match(r"(mailto|https):", claims["sub"]), f"sub: {claims['sub']}")
    # The verifier must be one that can say no.
    head, body, signature = token.split(".")
    turned = signature[:-4] + ("AAAA" if signature[-4:] != "AAAA" else "BBBB")
    check(not Vapid02.verify(f"vapid t={head}.{body}.{turned},k={key}"), "py-vapid accepts anything")


def run(world):
    origin = world.simulator("endpoint", "x").split("/push/")[0]
    daemon = Daemon(world, MOLLY_ALLOWED_ENDPOINTS=origin)
    link = world.command("qrcode", "airgapped", "--plain").splitlines()[-1]
    public = re.search(r"vapid=([A-Za-z0-9_-]{87})&", link)[1]

    for endpoint, audience in (
        ("https://updates.push.example/wpush/v2/token", "https://updates.push.example"),
        ("https://push.example:443/x?y", "https://push.example"),
        ("https://push.example:8443/x", "https://push.example:8443"),
    ):
        verify(world.command("vapid", "test", endpoint).strip(), audience, public)
    print("ok: py-vapid accepts what `vapid test` prints")

    account = Account(world)
    check_equal(account.register(world.simulator("endpoint", "upCAPTURE")), "ok", "registration")
    world.simulator.wait("wait-pushes", 1, seconds=10, what="test push")
    account.wait_connected()
    account.send()
    account.wait_acks(1)
    for n, body in ((1, '{"test":true}'), (2, '{"urgent":true}')):
        check_equal(world.simulator("push", n, "body"), body, f"body of push {n}")
        verify(world.simulator("push", n, "authorization"), origin, public)
    print("ok: py-vapid accepts the header of real pushes")
    daemon.stop()


with World() as world:
    run(world)
