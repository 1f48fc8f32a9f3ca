"""The page in a real browser: ways in, the view, mask files, drafts, and a mask that is kept."""

import base64
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.browser

STATE = """async ([x, y]) => {
  const { editor } = await import("/page/js/editor.js");
  const { scale, x: left, y: top } = editor.view;
  const { radius, soft } = editor.settings;
  const place = editor.view.toScreen(x, y);
  return { scale, left, top, radius, soft, place, steps: editor.history.steps.length };
}"""
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


def state(page: Any, x: float = 0, y: float = 0) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(STATE, [x, y])
    return found


def open_one(page: Any, path: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.locator("[data-open=files]:visible").first.click()
    chooser.value.set_files(str(path))
    page.wait_for_selector("#stage[data-image]")


def at(page: Any, x: float, y: float) -> tuple[float, float]:
    """Return where a point of the image is on the screen."""
    box = page.locator("#stage").bounding_box()
    left, top = state(page, x, y)["place"]
    return box["x"] + left, box["y"] + top


def saved_mask(page: Any) -> Any:
    page.click("details.menu summary")
    with page.expect_download() as download:
        page.click("[data-action=saveMask]")
    assert download.value.suggested_filename.endswith(".mask.png")
    return np.asarray(Image.open(download.value.path()))


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_photo_is_dropped_or_pasted(page: Any, photo: Path, way: str) -> None:
    """The same bytes that were given are on the server."""
    data = photo.read_bytes()
    page.evaluate(GIVE, [way, "mine.png", base64.b64encode(data).decode()])
    page.wait_for_selector("#stage[data-image]")
    assert page.inner_text("#info-name") == "mine.png"
    key = page.get_attribute("#stage", "data-image")
    answer = page.request.get(page.url.split("?")[0] + f"api/v1/images/{key}/file")
    assert answer.body() == data


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


def test_the_wheel_zooms_to_the_pointer_and_space_moves_the_photo(page: Any, photo: Path) -> None:
    """What is under the pointer stays there; with space a drag paints nothing."""
    open_one(page, photo)
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


def test_brackets_and_the_wheel_with_alt_change_the_brush(page: Any, photo: Path) -> None:
    open_one(page, photo)
    page.evaluate("async () => (await import('/page/js/editor.js')).editor.set({ radius: 10 })")
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


def test_a_mask_is_loaded_and_saved_and_a_wrong_one_is_told(
    page: Any, photo: Path, tmp_path: Path
) -> None:
    mask = np.zeros((80, 120), np.uint8)
    mask[13:41, 7:93] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.new("L", (80, 120), 255).save(tmp_path / "tall.png")
    open_one(page, photo)
    for name in ("mask.png", "tall.png"):
        page.click("details.menu summary")
        with page.expect_file_chooser() as chooser:
            page.click("[data-action=loadMask]")
        chooser.value.set_files(str(tmp_path / name))
        if name == "mask.png":
            page.wait_for_selector("[data-action=undo]:not([disabled])")
    page.wait_for_selector("#notice:not([hidden])")
    assert "a mask of 120 × 80 is needed" in page.inner_text("#notice-text")
    assert np.array_equal(saved_mask(page), mask)


def test_a_draft_by_color_is_the_paint(page: Any, tmp_path: Path) -> None:
    """What was painted over in another program is found, and can be taken back."""
    pixels = np.full((80, 120, 3), 90, np.uint8)
    pixels[20:50, 30:70] = (255, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "painted.png")
    open_one(page, tmp_path / "painted.png")
    page.click("details.menu summary")
    page.click("[data-action=byColor]")
    page.click("#color-dialog button[value=find]")
    page.wait_for_selector("[data-action=undo]:not([disabled])")
    mask = saved_mask(page).copy()
    assert mask[20:50, 30:70].min() == 255
    mask[16:54, 26:74] = 0  # a draft may reach a little beyond
    assert mask.max() == 0


def test_what_is_painted_after_the_server_came_back_outlives_a_reload(
    page: Any, photo: Path, server: Any
) -> None:
    """The photo has a new name on the new server, and its mask is kept under that."""
    open_one(page, photo)
    page.mouse.click(*at(page, 20, 20))
    old = page.get_attribute("#stage", "data-image")
    server.stop(signal.SIGKILL)
    page.wait_for_selector("#notice[data-kind=lost]:not([hidden])", timeout=15_000)
    server.start()
    page.wait_for_selector(f"#stage[data-image]:not([data-image='{old}'])")
    page.mouse.click(*at(page, 90, 60))
    page.wait_for_timeout(200)
    assert state(page)["steps"] == 2
    page.reload()
    page.wait_for_selector("#stage[data-image]")
    page.wait_for_selector("[data-action=undo]:not([disabled])")
    assert state(page)["steps"] == 2


def test_the_folded_settings_are_named_once(page: Any) -> None:
    page.evaluate("() => document.querySelector('#more').setAttribute('open', '')")
    assert page.inner_text("#more").count("More settings") == 1


def test_a_draft_outlives_a_look_at_the_server(page: Any, tmp_path: Path) -> None:
    """The page asks for the list of photos now and then, also while a draft is made."""
    pixels = np.full((80, 120, 3), 90, np.uint8)
    pixels[20:50, 30:70] = (255, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "painted.png")
    open_one(page, tmp_path / "painted.png")
    look = "async () => (await import('/page/js/session.js')).session.refresh()"

    def answer(route: Any) -> None:
        found = route.fetch()
        page.evaluate(look)
        route.fulfill(response=found)

    page.route("**/api/v1/masks/color", answer)
    page.click("details.menu summary")
    page.click("[data-action=byColor]")
    page.click("#color-dialog button[value=find]")
    page.wait_for_selector("[data-action=undo]:not([disabled])")
