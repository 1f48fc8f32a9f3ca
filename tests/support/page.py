"""What a person does on the page, in a browser that a test drives."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = [
    "DONE",
    "at",
    "draft",
    "fill",
    "hurry",
    "mask_of",
    "open_menu",
    "open_photos",
    "paint",
    "result_of",
    "saved_mask",
    "set_radius",
    "state",
]

DONE = "#result-actions:not([hidden])"  # there when a result is shown

MASK = """async () => {
  const { editor } = await import("/page/js/editor.js");
  const { blob } = await editor.export();
  return [...new Uint8Array(await blob.arrayBuffer())];
}"""
STATE = """async ([x, y]) => {
  const { editor } = await import("/page/js/editor.js");
  const { scale, x: left, y: top } = editor.view;
  const { radius, soft } = editor.settings;
  const place = editor.view.toScreen(x, y);
  return { scale, left, top, radius, soft, place, steps: editor.history.steps.length };
}"""


def open_photos(page: Any, *paths: Path) -> None:
    """Choose files in the dialog, and wait until the first is on the canvas."""
    with page.expect_file_chooser() as chooser:
        page.locator("[data-open=files]:visible").first.click()
    chooser.value.set_files(list(map(str, paths)))
    page.locator("#film-list li").nth(len(paths) - 1).wait_for()
    page.wait_for_selector("#stage[data-image]")
    page.wait_for_selector("body:not(.is-opening)")


def state(page: Any, x: float = 0, y: float = 0) -> dict[str, Any]:
    """Return the view, the brush, the number of steps, and where a point of the image is."""
    found: dict[str, Any] = page.evaluate(STATE, [x, y])
    return found


def at(page: Any, x: float, y: float) -> tuple[float, float]:
    """Return where a point of the image is in the window."""
    box = page.locator("#stage").bounding_box()
    left, top = state(page, x, y)["place"]
    return box["x"] + left, box["y"] + top


def paint(page: Any, *points: tuple[float, float]) -> None:
    """Drag through points of the image."""
    for k, point in enumerate(points):
        page.mouse.move(*at(page, *point))
        if k == 0:
            page.mouse.down()
    page.mouse.up()


def set_radius(page: Any, radius: float) -> None:
    """Set the radius of the brush, in pixels of the image."""
    page.evaluate(
        """async (radius) => (await import("/page/js/editor.js")).editor.set({ radius })""", radius
    )


def mask_of(page: Any) -> np.ndarray[Any, Any]:
    """Return the mask as it would be sent, at the size of the image."""
    image = Image.open(io.BytesIO(bytes(page.evaluate(MASK))))
    assert image.mode == "L"
    return np.asarray(image)


def open_menu(page: Any) -> None:
    """Open the menu of the mask."""
    page.click("details.menu summary")


def draft(page: Any, action: str) -> np.ndarray[Any, Any]:
    """Choose a draft in the menu, and return the mask when it is there."""
    open_menu(page)
    page.click(f"[data-action={action}]")
    if action == "byColor":
        page.click("#color-dialog button[value=find]")
    page.wait_for_selector("[data-action=undo]:not([disabled])")
    return mask_of(page)


def saved_mask(page: Any) -> np.ndarray[Any, Any]:
    """Save the mask by the menu, and return it."""
    open_menu(page)
    with page.expect_download() as download:
        page.click("[data-action=saveMask]")
    assert download.value.suggested_filename == "photo.mask.png"
    return np.asarray(Image.open(download.value.path()))


def hurry(page: Any, steps: int = 2) -> None:
    """Ask for a quick fill."""
    page.select_option("#set-fill", "smooth")
    page.evaluate("() => document.querySelector('#more').setAttribute('open', '')")
    page.fill("#set-steps", str(steps))


def fill(page: Any) -> None:
    """Press the button of the task, and wait for a result."""
    page.click("#run")
    page.wait_for_selector(DONE, timeout=60_000)


def result_of(page: Any) -> np.ndarray[Any, Any]:
    """Download the result that is shown, and return it."""
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename.startswith("photo.inpainted")
    return np.asarray(Image.open(download.value.path()))
