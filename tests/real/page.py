"""The page in a real browser: headless Chromium, phone and desktop, light and dark. PICTURES=DIR keeps the screenshots."""

import os
import re
import subprocess
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import sync_playwright
from proxy import ROOT, SUB_PATH, Proxy
from proxies import link_url
from world import Account, Daemon, World, check, check_equal

VIEWPORTS = {"phone": {"width": 360, "height": 740}, "desktop": {"width": 1280, "height": 800}}
SCHEMES = ("light", "dark")
WARNINGS = ".warn:visible"


def read(png):
    """The text zbarimg finds; nothing when there is no code."""
    done = subprocess.run(["zbarimg", "-q", "--raw", "-Sdisable", "-Sqrcode.enable", png], capture_output=True, text=True)
    return done.stdout.strip()


class Browser:
    """Chromium, for which every host is this machine."""

    def __init__(self, playwright, world):
        # Browsers trust no throw-away authority. Without a sandbox, because root may run this.
        flags = ["--host-resolver-rules=MAP * 127.0.0.1", "--no-sandbox"]
        self.chromium = playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], args=flags)
        self.pictures = Path(os.environ.get("PICTURES", world.dir))

    def open(self, url, viewport="phone", scheme="light", **options):
        """A page that has run its script. `page.complaints` is what the console said and what was asked of others."""
        context = self.chromium.new_context(
            viewport=VIEWPORTS[viewport],
            color_scheme=scheme,
            ignore_https_errors=True,
            device_scale_factor=2 if viewport == "phone" else 1,
            **options,
        )
        page = context.new_page()
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("requestfailed", lambda request: page.complaints.append(f"failed: {request.url}"))
        page.on("request", lambda request: request.url != url and page.complaints.append(f"loads {request.url}"))
        check_equal(page.goto(url).status, 200, url)
        return page


def looks_right(browser, url, name, viewport, scheme):
    page = browser.open(url, viewport, scheme)
    where = f"{name}, {viewport}, {scheme}"
    link = page.locator("a.link")
    href = link.get_attribute("href")
    check_equal(link.inner_text(), href, f"{where}: the link can be read")
    check(link.is_visible() and link.bounding_box()["height"] >= 44, f"{where}: the link is too small to tap")
    png = browser.pictures / f"{name}-{viewport}-{scheme}.png"
    page.screenshot(path=png, full_page=True)
    check_equal(read(png), href, f"{where}: QR code")
    # Scanners want dark on light whatever the theme: the quiet zone is white, a finder pattern black.
    code = page.locator(".qr svg")
    code.screenshot(path=png.with_suffix(".code.png"))
    image = Image.open(png.with_suffix(".code.png")).convert("L")
    module = image.width / float(code.get_attribute("viewBox").split()[2])
    check(image.getpixel((int(module), int(module))) > 250, f"{where}: quiet zone")
    check(image.getpixel((int(4.5 * module), int(4.5 * module))) < 5, f"{where}: finder pattern")
    check(page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{where}: scrolls sideways")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", dark)[:3])) / 3
    check((brightness < 80) == (scheme == "dark"), f"{where}: background {dark}")
    check_equal(page.complaints, [], f"{where}: console and requests")
    violations = Axe().run(page).response["violations"]
    check(not violations, f"{where}: axe: {[(v['id'], v['nodes'][0]['html']) for v in violations]}")
    page.context.close()


def run(world, playwright):
    origin = world.simulator("endpoint", "x").split("/push/")[0]
    daemon = Daemon(world, MOLLY_ALLOWED_ENDPOINTS=origin)
    browser = Browser(playwright, world)
    nginx = Proxy(world, "nginx")
    pages = {
        "root": nginx.url(ROOT),
        "sub-path": nginx.url(SUB_PATH),
        "airgapped": nginx.url(SUB_PATH) + "?airgapped",
        "direct": f"http://{daemon.address}/",
    }
    for name, url in pages.items():
        for viewport in VIEWPORTS:
            for scheme in SCHEMES:
                looks_right(browser, url, name, viewport, scheme)
    print("ok: the page in Chromium: codes read by zbarimg, nothing in the console, no violation found by axe-core")

    for place in (ROOT, SUB_PATH):
        page = browser.open(nginx.url(place))
        check_equal(page.locator(WARNINGS).count(), 0, f"warnings at {place}")
        check_equal(link_url(page.content()), nginx.url(place), "link")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the link").click()
    page.get_by_role("button", name="Copied").wait_for()
    check_equal(page.evaluate("navigator.clipboard.readText()"), page.locator("a.link").get_attribute("href"), "copied")
    page.get_by_role("link", name="Link it air-gapped").click()
    check("type=airgapped" in page.locator("a.link").get_attribute("href"), "the way to the air-gapped page")
    page.get_by_role("link", name="Link it by the web").click()
    check_equal(link_url(page.content()), nginx.url(SUB_PATH), "the way back")
    nginx.stop()

    for what, broken, place, names in (
        ("Host", "proxy_set_header Host $http_host;", ROOT, "proxy_set_header Host"),
        ("path", "proxy_set_header X-Original-URL $request_uri;", SUB_PATH, "X-Original-URL"),
    ):
        proxy = Proxy(world, "nginx", lambda text, broken=broken: text.replace(broken, ""))
        page = browser.open(proxy.url(place))
        told = " ".join(page.locator(WARNINGS).all_inner_texts())
        check(names in told and proxy.url(place) in told, f"without {what} the page says: {told!r}")
        page.screenshot(path=browser.pictures / f"without-{what}.png", full_page=True)
        # Without JavaScript the page is whole; only the comparison is missing.
        page = browser.open(proxy.url(place), java_script_enabled=False)
        check(page.locator("a.link").is_visible() and page.locator(".qr svg").is_visible(), "page without JavaScript")
        check(not page.locator("button.copy").is_visible(), "a button that does nothing")
        proxy.stop()
    print("ok: the page names the header that a wrong proxy leaves out")

    account = Account(world)
    endpoint = world.simulator("endpoint", "upPRIVATE")
    check_equal(account.register(endpoint), "ok", "registration")
    account.wait_connected()
    content = browser.open(pages["direct"]).content()
    for secret in (account.uuid, account.uuid[:8], account.password, endpoint, "upPRIVATE"):
        check(secret not in content, f"the page shows {secret}")
    daemon.stop()

    daemon = Daemon(world, MOLLY_ALLOWED_ENDPOINTS=origin, MOLLY_PUBLIC_URL="https://molly.example.org/other/")
    page = browser.open(f"http://{daemon.address}/")
    told = " ".join(page.locator(WARNINGS).all_inner_texts())
    check("public_url" in told and daemon.address in told, f"with another public_url the page says: {told!r}")
    daemon.stop()
    print("ok: the page shows nothing of who is linked, and doubts a public_url nobody used")


if __name__ == "__main__":
    with World() as world, sync_playwright() as playwright:
        run(world, playwright)
