"""The page in a real browser: ways in, the view, the tools, mask files and drafts."""

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from support.page import (
    at,
    draft,
    mask_of,
    open_menu,
    open_photos,
    paint,
    saved_mask,
    set_radius,
    state,
)

pytestmark = pytest.mark.browser

GIVE = """([kind, name, data]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type: "image/png" }));
  const more = { bubbles: true, cancelable: true };
  const event = kind === "paste"
    ? new ClipboardEvent(kind, { clipboardData: transfer, ...more })
    : new DragEvent(kind, { dataTransfer: transfer, ...more });
  document.body.dispatchEvent(event);
}"""
STROKES = """async () => {
  const { rasterize, whole } = await import("/page/js/mask/raster.js");
  const brush = { kind: "brush", erase: false };
  const points = [[20.3, 30.6, 6], [60.8, 12.2, 6], [70.1, 50.4, 6]];
  const dot = { ...brush, soft: 0, points: [[40, 30, 3]] };
  return [
    [{ ...brush, soft: 9, points }],
    [{ ...brush, soft: 0, points }],
    [dot, { kind: "grow", by: 4 }],
  ].map((steps) => [...rasterize(steps, whole(96, 64))]);
}"""
PEN = """([kind, x, y, pressure, buttons]) => {
  const stage = document.querySelector("#stage");
  stage.setPointerCapture = () => {}; // of a pen that is not there
  stage.dispatchEvent(new PointerEvent(kind, {
    pointerId: 7, pointerType: "pen", clientX: x, clientY: y, pressure, buttons,
    button: kind === "pointermove" ? -1 : buttons === 32 ? 5 : 0, bubbles: true,
  }));
}"""


def test_a_photo_is_dropped_or_pasted(page: Any, server: Any, photo: Path) -> None:
    """The same bytes that were given are on the server."""
    data = photo.read_bytes()
    for k, way in enumerate(("drop", "paste")):
        page.evaluate(GIVE, [way, f"{way}.png", base64.b64encode(data).decode()])
        page.locator("#film-list li").nth(k).wait_for()
        page.wait_for_selector("#stage[data-image]")
        assert page.inner_text("#info-name") == f"{way}.png"
        key = page.locator("#film-list li").nth(k).get_attribute("data-image")
        assert server.client.get(f"/api/v1/images/{key}/file").content == data


def test_a_folder_is_a_strip_in_order(page: Any, photo: Path, tmp_path: Path) -> None:
    """Only the images of a folder are opened, 2 before 10; Page down shows the next one."""
    for name in ("b10.png", "b2.png", "a.png"):
        (tmp_path / name).write_bytes(photo.read_bytes())
    (tmp_path / "notes.txt").write_text("no image")
    with page.expect_file_chooser() as chooser:
        page.click("#empty [data-open=folder]")
    chooser.value.set_files(str(tmp_path))
    page.locator("#film-list li").nth(2).wait_for()
    page.wait_for_selector("body:not(.is-opening)")
    names = [tile.get_attribute("title") for tile in page.locator("#film-list .tile").all()]
    assert names == ["a.png", "b2.png", "b10.png"]
    page.keyboard.press("PageDown")
    page.wait_for_selector("#film-list li:nth-child(2) .tile[aria-current=true]")


def test_the_view_and_the_brush_follow_wheel_keys_and_fingers(page: Any, photo: Path) -> None:
    open_photos(page, photo)
    check_wheel(page)
    check_brush(page)
    check_pinch(page)


def check_wheel(page: Any) -> None:
    """What is under the pointer stays there; with space a drag paints nothing."""
    x, y = at(page, 30, 20)
    before = state(page)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -100)
    zoomed = state(page)
    assert zoomed["scale"] > 1.2 * before["scale"]
    assert at(page, 30, 20) == pytest.approx((x, y), abs=0.15)  # a wheel tells whole pixels
    page.keyboard.down(" ")
    page.mouse.down()
    page.mouse.move(x + 25, y - 15)
    page.mouse.up()
    page.keyboard.up(" ")
    moved = state(page)
    assert (moved["left"] - zoomed["left"], moved["top"] - zoomed["top"]) == pytest.approx(
        (25, -15)
    )
    assert moved["steps"] == 0
    page.keyboard.press("0")
    assert state(page)["scale"] == pytest.approx(before["scale"])


def check_brush(page: Any) -> None:
    """Brackets and the wheel with Alt change the size, braces the edge."""
    set_radius(page, 10)
    page.keyboard.press("]")
    assert state(page)["radius"] == pytest.approx(11.5)
    page.keyboard.press("[")
    assert state(page)["radius"] == pytest.approx(10)
    page.mouse.move(*at(page, 60, 40))
    page.keyboard.down("Alt")
    page.mouse.wheel(0, -100)
    page.keyboard.up("Alt")
    assert state(page)["radius"] > 11
    page.keyboard.press("}")
    assert state(page)["soft"] == 2


def check_pinch(page: Any) -> None:
    """Two fingers zoom to their middle and paint nothing; one finger paints."""
    client = page.context.new_cdp_session(page)
    x, y = at(page, 60, 40)

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": px, "y": py, "id": k} for k, (px, py) in enumerate(places)]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    before = state(page)["scale"]
    touch("touchStart", (x - 50, y))
    touch("touchStart", (x - 50, y), (x + 50, y))
    touch("touchMove", (x - 100, y), (x + 100, y))
    touch("touchEnd")
    assert state(page)["scale"] == pytest.approx(2 * before, rel=0.1)
    assert mask_of(page).max() == 0
    touch("touchStart", (x, y))
    touch("touchMove", (x + 40, y))
    touch("touchEnd")
    assert mask_of(page).max() == 255


def test_undo_redo_erase_invert_and_grow(page: Any, photo: Path) -> None:
    """Each step changes the mask as it says, and undo takes each back."""
    open_photos(page, photo)
    set_radius(page, 10)
    paint(page, (60, 40))
    disc = mask_of(page)
    y, x = np.mgrid[:80, :120] + 0.5
    exact = (x - 60) ** 2 + (y - 40) ** 2 <= 100
    assert abs(int((disc > 0).sum()) - int(exact.sum())) <= 12  # the mouse is between two pixels
    page.keyboard.press("g")
    grown = mask_of(page)
    page.keyboard.press("i")
    assert np.array_equal(mask_of(page), 255 - grown)
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert np.array_equal(mask_of(page), disc)
    page.keyboard.press("Control+Shift+z")
    assert np.array_equal(mask_of(page), grown)
    page.keyboard.press("e")
    paint(page, (40, 40), (80, 40))
    assert mask_of(page)[40].max() == 0
    page.keyboard.press("Delete")
    assert mask_of(page).max() == 0


def test_lasso_polygon_and_rectangle(page: Any, photo: Path) -> None:
    """A drag of the lasso, its clicks, and a rectangle paint what they go round."""
    open_photos(page, photo)
    page.keyboard.press("r")
    paint(page, (20, 10), (40, 30))
    assert mask_of(page)[11:29, 21:39].min() == 255
    assert int((mask_of(page) > 0).sum()) == pytest.approx(400, abs=45)
    page.keyboard.press("Delete")
    page.keyboard.press("l")
    for point in [(20, 20), (100, 20), (60, 70)]:
        paint(page, point)
    page.keyboard.press("Enter")
    triangle = mask_of(page)
    assert int((triangle > 0).sum()) == pytest.approx(2000, abs=90)
    page.keyboard.press("Delete")
    paint(page, (20, 20), (100, 20), (60, 70))
    assert int((mask_of(page) > 0).sum()) == pytest.approx(2000, abs=90)


def test_soft_strokes_are_those_of_a_distance(page: Any) -> None:
    """A soft brush falls off with the distance to the stroke, and growing takes a disc."""
    soft, hard, grown = np.array(page.evaluate(STROKES)).reshape(3, 64, 96)
    y, x = np.mgrid[:64, :96] + 0.5
    corners = np.array([[20.3, 30.6], [60.8, 12.2], [70.1, 50.4]])
    far = np.full((64, 96), np.inf)
    for (ax, ay), (bx, by) in zip(corners, corners[1:], strict=False):
        along = ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2)
        t = along.clip(0, 1)
        far = np.minimum(far, np.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay)))
    assert np.array_equal(hard, 255 * (far <= 6))
    assert np.abs(soft - 255 * (1 - ((far - 6) / 9).clip(0, 1))).max() <= 0.51
    dot = np.hypot(x - 40, y - 30) <= 3
    disc = np.hypot(*np.mgrid[-4:5, -4:5]) <= 4
    assert np.array_equal(grown, 255 * cv2.dilate(dot.astype(np.uint8), disc.astype(np.uint8)))


def test_a_pen_paints_by_its_pressure_and_erases_with_its_other_end(page: Any, photo: Path) -> None:
    """The width of a stroke follows the pressure where that is asked for."""

    def stroke(y: float, pressure: float, buttons: int = 1) -> None:
        for kind, x in (("pointerdown", 30), ("pointermove", 90)):
            page.evaluate(PEN, [kind, *at(page, x, y), pressure, buttons])
        page.evaluate(PEN, ["pointerup", *at(page, 90, y), 0, 0])

    def height() -> int:
        return int((mask_of(page)[:, 60] > 0).sum())

    open_photos(page, photo)
    set_radius(page, 10)
    stroke(40, 0.25)
    assert height() == pytest.approx(20, abs=1)  # pressure is left aside at first
    stroke(40, 0.5, buttons=32)
    assert height() == 0
    open_menu(page)
    page.check("#pressure")
    page.keyboard.press("Escape")
    stroke(40, 0.25)
    assert height() == pytest.approx(2 * 10 * (0.2 + 0.8 * 0.25), abs=1)
    stroke(40, 1.0)
    assert height() == pytest.approx(20, abs=1)


def test_a_mask_is_loaded_and_saved_and_a_wrong_one_is_told(
    page: Any, photo: Path, tmp_path: Path
) -> None:
    mask = np.zeros((80, 120), np.uint8)
    mask[13:41, 7:93] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.new("L", (80, 120), 255).save(tmp_path / "tall.png")
    open_photos(page, photo)
    for name in ("mask.png", "tall.png"):
        open_menu(page)
        with page.expect_file_chooser() as chooser:
            page.click("[data-action=loadMask]")
        chooser.value.set_files(str(tmp_path / name))
        if name == "mask.png":
            page.wait_for_selector("[data-action=undo]:not([disabled])")
    page.wait_for_selector("#notice:not([hidden])")
    assert "a mask of 120 × 80 is needed" in page.inner_text("#notice-text")
    assert np.array_equal(saved_mask(page), mask)


def test_a_draft_by_color_is_the_paint(page: Any, tmp_path: Path) -> None:
    """What was painted over in another program is found, and can be taken back.

    The page asks for the list of photos now and then, also while a draft is made.
    """
    pixels = np.full((80, 120, 3), 90, np.uint8)
    pixels[20:50, 30:70] = (255, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "painted.png")
    open_photos(page, tmp_path / "painted.png")
    look = "async () => (await import('/page/js/session.js')).session.refresh()"

    def answer(route: Any) -> None:
        found = route.fetch()
        page.evaluate(look)
        route.fulfill(response=found)

    page.route("**/api/v1/masks/color", answer)
    mask = draft(page, "byColor").copy()
    assert mask[20:50, 30:70].min() == 255
    mask[16:54, 26:74] = 0  # a draft may reach a little beyond
    assert mask.max() == 0
    page.keyboard.press("Control+z")
    assert mask_of(page).max() == 0


def test_drafts_of_scratches_and_of_text(page: Any, tmp_path: Path) -> None:
    """A bright line and a caption are each found by their own draft, and nothing else is."""
    y, x = np.mgrid[:120, :200]
    plain = np.stack([90 + x / 8, 100 + y / 8, 110 - x / 8], 2).astype(np.uint8)
    scratched = plain.copy()
    scratched[:, 60:62] = 250
    caption = Image.fromarray(plain)
    ImageDraw.Draw(caption).text((30, 80), "Summer 1987", fill=(255, 255, 255), font_size=20)
    Image.fromarray(scratched).save(tmp_path / "scratched.png")
    caption.save(tmp_path / "caption.png")
    open_photos(page, tmp_path / "scratched.png", tmp_path / "caption.png")
    line = draft(page, "findScratches")
    assert line[5:-5, 60:62].mean() > 250
    assert line[:, 90:].max() == 0
    page.keyboard.press("PageDown")
    page.wait_for_selector("#film-list li:nth-child(2) .tile[aria-current=true]")
    page.wait_for_selector("[data-action=undo][disabled]")
    letters = (np.asarray(caption) != plain).any(-1)
    found = draft(page, "findText")
    assert found[letters].mean() > 250
    assert found[:60].max() == 0
