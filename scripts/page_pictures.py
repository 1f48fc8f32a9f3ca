"""Make the pictures of docs/page.md: a browser on a server, with the photos of data/samples.

    python scripts/page_pictures.py docs/pictures

It needs the extras app and dev, and chromium.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image

SAMPLES = Path(__file__).parent.parent / "data" / "samples"
PHOTOS = ("dog", "city", "house")
SIZES = {"wide": (1440, 900), "middle": (1024, 768), "phone": (390, 844)}
QUALITY = 76  # of WebP
LASSO = (
    (495, 335),
    (530, 350),
    (520, 490),
    (490, 560),
    (440, 574),
    (385, 574),
    (385, 520),
    (455, 445),
)
PLACE = """async ([x, y]) => (await import("/page/js/editor.js")).editor.view.toScreen(x, y)"""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run ``diffprior serve`` and yield its address."""
    command = [sys.executable, "-m", "diffprior", "serve", "--no-open", "--port", "8090"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def open_photos(page: Any) -> None:
    """Choose the photos."""
    with page.expect_file_chooser() as chooser:
        page.click("#empty [data-open=files]")
    chooser.value.set_files([str(SAMPLES / f"{name}.png") for name in PHOTOS])
    page.wait_for_selector(f"#film-list li:nth-child({len(PHOTOS)})")
    page.wait_for_selector("#stage[data-image]")


def paint(page: Any) -> None:
    """Draw a lasso round the collar of the dog."""
    page.keyboard.press("l")
    box = page.locator("#stage").bounding_box()
    for k, point in enumerate((*LASSO, LASSO[0])):
        x, y = page.evaluate(PLACE, list(point))
        page.mouse.move(box["x"] + x, box["y"] + y)
        if k == 0:
            page.mouse.down()
    page.mouse.up()


def fill(page: Any) -> None:
    """Fill what is painted, and show it beside the original."""
    page.click("#run")
    page.wait_for_selector("#result-actions:not([hidden])", timeout=180_000)
    page.click("#compare")
    page.evaluate("() => scrollTo(0, 0)")
    page.wait_for_timeout(500)


def save(page: Any, path: Path) -> None:
    """Write a picture of the page as WebP."""
    shot = path.with_suffix(".png")
    page.screenshot(path=shot)
    with Image.open(shot) as image:
        image.convert("RGB").save(path, quality=QUALITY, method=6)
    shot.unlink()


def tour(browser: Any, url: str, folder: Path) -> None:
    """Take all pictures: one fill, which is seen at all sizes."""
    context = browser.new_context(
        viewport=dict(zip(("width", "height"), SIZES["wide"], strict=True))
    )
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("body.is-ready")
    save(page, folder / "page_start.webp")
    open_photos(page)
    paint(page)
    page.mouse.move(5, 5)
    page.wait_for_timeout(300)
    save(page, folder / "page_painted.webp")
    fill(page)
    for name, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        page.click("#fit")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.evaluate("() => scrollTo(0, 0)")
            page.wait_for_timeout(500)
            save(page, folder / f"page_{name}_{scheme}.webp")
    context.close()


def main(folder: Annotated[Path, typer.Argument(help="Where the pictures go.")]) -> None:
    """Make the pictures of the page."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as work, serving(Path(work)) as url:
        with sync_playwright() as driver:
            path = shutil.which("chromium")
            browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
            tour(browser, url, folder.resolve())
            browser.close()


if __name__ == "__main__":
    typer.run(main)
