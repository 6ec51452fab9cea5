"""zbarimg reads our QR codes: the SVG of the page, and the terminal's on dark and on light backgrounds."""

import html
import os
import re
import subprocess
from pathlib import Path

from PIL import Image, ImageDraw
from world import Daemon, World, check, check_equal

# Background and text colour of usual terminals, and their bright white and black where themes change them.
TERMINALS = {
    "dark": ("#000000", "#d0d0d0", "#ffffff", "#000000"),
    "light": ("#ffffff", "#202020", "#ffffff", "#000000"),
    "solarized-dark": ("#002b36", "#839496", "#fdf6e3", "#073642"),
    "solarized-light": ("#fdf6e3", "#657b83", "#fdf6e3", "#073642"),
}
# A character cell of a usual terminal font, in pixels.
WIDTH, HEIGHT = 8, 16
# Which half of a cell a block character fills: (upper, lower).
BLOCKS = {"█": (True, True), "▀": (True, False), "▄": (False, True), " ": (False, False)}


def draw_terminal(text, theme):
    """What a terminal of that theme shows: black (30) on bright white (107), or its own colours (0)."""
    background, foreground, white, black = TERMINALS[theme]
    rows = text.splitlines()
    columns = max(len(re.sub(r"\x1b\[[0-9;]*m", "", row)) for row in rows) + 4
    image = Image.new("RGB", (columns * WIDTH, (len(rows) + 2) * HEIGHT), background)
    draw = ImageDraw.Draw(image)
    for y, row in enumerate(rows, start=1):
        paper, ink, x = background, foreground, 2
        for escape, character in re.findall(r"\x1b\[([0-9;]*)m|(.)", row):
            if not character:
                for code in escape.split(";"):
                    check(code in ("0", "30", "107"), f"escape sequence {escape!r}")
                    paper, ink = {"0": (background, foreground), "30": (paper, black), "107": (white, ink)}[code]
                continue
            check(character in BLOCKS, f"character {character!r} in the code")
            for half, filled in enumerate(BLOCKS[character]):
                top = y * HEIGHT + half * HEIGHT // 2
                box = (x * WIDTH, top, (x + 1) * WIDTH - 1, top + HEIGHT // 2 - 1)
                draw.rectangle(box, fill=ink if filled else paper)
            x += 1
    return image


def read(png):
    """The text zbarimg finds; nothing when there is no code."""
    done = subprocess.run(["zbarimg", "-q", "--raw", "-Sdisable", "-Sqrcode.enable", png], capture_output=True, text=True)
    return done.stdout.strip()


def run(world):
    # For whoever wants to look at the pictures.
    pictures = Path(os.environ.get("PICTURES", world.dir))
    Daemon(world)

    for name, path, headers in (
        ("page", "/", {"Host": "molly.example.org"}),
        ("sub-path", "/", {"Host": "example.org:8443", "X-Original-URL": "/a%20long/way/to/mollysocket/"}),
        ("airgapped", "/?airgapped", {"Host": "molly.example.org"}),
    ):
        status, _, page = world.daemon.request("GET", path, headers={"User-Agent": "Mozilla/5.0", **headers})
        check_equal(status, 200, path)
        link = html.unescape(re.search(r'href="(mollysocket://[^"]+)"', page)[1])
        svg = re.search(r"<svg.*?</svg>", page, re.DOTALL)[0]
        (pictures / f"{name}.svg").write_text(svg)
        png = pictures / f"{name}.png"
        # Transparent where nothing is drawn: a dark page behind it must not matter.
        to_png = ["rsvg-convert", "--width", "400", "--background-color", "#131316", "--output", str(png)]
        subprocess.run([*to_png, str(pictures / f"{name}.svg")], check=True)
        check_equal(read(png), link, f"QR code of the page ({name})")
    print("ok: zbarimg reads the page's QR codes")

    for args, themes in (
        (["url", "https://molly.example.org/"], TERMINALS),
        (["url", "https://example.org:8443/a/long/way/to/mollysocket/?a=b&c=d"], TERMINALS),
        (["airgapped"], TERMINALS),
        # Without colours it is made for dark backgrounds only.
        (["airgapped", "--plain"], ["dark", "solarized-dark"]),
    ):
        *code, link = world.on_terminal("qrcode", *args).rstrip("\n").split("\n")
        check(link.startswith("mollysocket://link?"), f"last line: {link!r}")
        for theme in themes:
            png = pictures / f"terminal-{'-'.join(args).replace('/', '_')}-{theme}.png"
            draw_terminal("\n".join(code).strip("\n"), theme).save(png)
            check_equal(read(png), link, f"QR code of `qrcode {' '.join(args)}`, {theme}")
    print("ok: zbarimg reads the terminal's QR codes on dark and light backgrounds")

    for name, args in (("short", ["airgapped"]), ("long", ["url", "https://example.org:8443/" + "a-long-path/" * 60])):
        svg = pictures / f"file-{name}.svg"
        link = world.command("qrcode", *args, "--svg", str(svg)).rstrip("\n").split("\n")[-1]
        check(link.startswith("mollysocket://link?"), f"last line: {link!r}")
        drawn = pictures / f"file-{name}-svg.png"
        subprocess.run(["rsvg-convert", "--width", "800", "--background-color", "#131316", "--output", drawn, svg], check=True)
        check_equal(read(drawn), link, f"SVG of `qrcode {args[0]}` ({name})")
    print("ok: zbarimg reads the QR codes in SVG files")
    world.daemon.stop()


with World() as world:
    run(world)
