"""The page in a real browser: what a person does with it."""

import io
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.browser

Pixels = np.ndarray[Any, Any]
MASK = """async () => {
  const { editor } = await import("/page/js/editor.js");
  const { blob } = await editor.export();
  return [...new Uint8Array(await blob.arrayBuffer())];
}"""
PLACE = """async ([x, y]) => {
  const { editor } = await import("/page/js/editor.js");
  return editor.view.toScreen(x, y);
}"""


def open_files(page: Any, *paths: Path) -> None:
    """Choose files in the dialog, and wait until the first is on the canvas."""
    with page.expect_file_chooser() as chooser:
        page.locator("[data-open=files]:visible").first.click()
    chooser.value.set_files(list(map(str, paths)))
    page.locator("#film-list li").nth(len(paths) - 1).wait_for()
    page.wait_for_selector("#stage[data-image]")
    page.wait_for_selector("body:not(.is-opening)")


def paint(page: Any, *points: tuple[float, float]) -> None:
    """Drag through points of the image."""
    box = page.locator("#stage").bounding_box()
    places = [page.evaluate(PLACE, list(point)) for point in points]
    for k, (x, y) in enumerate(places):
        page.mouse.move(box["x"] + x, box["y"] + y)
        if k == 0:
            page.mouse.down()
    page.mouse.up()


def set_radius(page: Any, radius: float) -> None:
    page.evaluate(
        """async (radius) => (await import("/page/js/editor.js")).editor.set({ radius })""", radius
    )


def mask_of(page: Any) -> Pixels:
    """The mask as it would be sent, at the size of the image."""
    image = Image.open(io.BytesIO(bytes(page.evaluate(MASK))))
    assert image.mode == "L"
    return np.asarray(image)


def hurry(page: Any, steps: int = 2) -> None:
    """Ask for a quick fill."""
    page.select_option("#set-fill", "smooth")
    page.evaluate("() => document.querySelector('#more').setAttribute('open', '')")
    page.fill("#set-steps", str(steps))


def result_of(page: Any) -> Pixels:
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename.startswith("photo.inpainted")
    return np.asarray(Image.open(download.value.path()))


@pytest.fixture
def filled(page: Any, photo: Path) -> Any:
    """The page with a filled spot."""
    open_files(page, photo)
    set_radius(page, 8)
    paint(page, (44, 30), (56, 30))
    hurry(page)
    page.click("#run")
    page.wait_for_selector("#result-actions:not([hidden])")
    return page


def test_a_painted_spot_is_filled_and_all_else_is_the_same_to_the_bit(
    filled: Any, photo: Path
) -> None:
    """Open, paint, fill, download."""
    mask, before, after = mask_of(filled), np.asarray(Image.open(photo)), result_of(filled)
    assert mask.shape == (80, 120)
    assert set(np.unique(mask)) == {0, 255}
    assert np.array_equal(after[mask == 0], before[mask == 0])
    assert (after[25:35, 45:55].mean(axis=(0, 1)) > 60).all()  # it was 20
    filled.click("#details summary >> nth=0")
    assert filled.inner_text("#command").startswith("diffprior inpaint photo.png --mask")
    assert filled.inner_text("#python").count("diffprior.inpaint(") == 1
    filled.click("#report summary")
    assert "method" in filled.inner_text("#report-list")


def test_a_result_is_compared_and_gone_on_with(filled: Any) -> None:
    """The divider follows the mouse; the original shows while the button is held; it goes on."""
    filled.click("#compare")
    before = float(filled.input_value("#divider"))
    box = filled.locator("#stage").bounding_box()
    x, y = filled.evaluate(PLACE, [30, 40])
    filled.mouse.click(box["x"] + x, box["y"] + y)
    assert before == 0.5
    assert float(filled.input_value("#divider")) == pytest.approx(0.25, abs=0.02)
    filled.click("#compare")
    shade = """async () => {
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      const { editor } = await import("/page/js/editor.js");
      const [x, y] = editor.view.toScreen(50, 30).map((v) => v * Math.min(2, devicePixelRatio));
      return editor.stage.context.getImageData(x, y, 1, 1).data[0];
    }"""
    assert filled.evaluate(shade) > 60
    filled.hover("#hold")
    filled.mouse.down()
    assert filled.evaluate(shade) == 20
    filled.mouse.up()
    filled.click("#go-on")
    filled.locator("#film-list li").nth(1).wait_for()
    filled.wait_for_selector("#results", state="hidden")
    assert "photo" in filled.inner_text("#info-name")


def test_three_samples_with_a_veil_of_what_is_invented(page: Any, photo: Path) -> None:
    """Three cards to choose from beside the original, and a button for the veil."""
    open_files(page, photo)
    paint(page, (44, 30), (56, 30))
    hurry(page)
    page.locator(".samples label").nth(1).click()
    page.check("#set-invented")
    page.click("#run")
    page.wait_for_selector("#result-actions:not([hidden])")
    assert page.locator("#result-list .card").count() == 4
    page.locator("#result-list .card").nth(2).click()
    page.click("#veil")
    page.wait_for_selector("#veil[aria-pressed=true]")


def test_a_job_is_canceled_and_the_mask_stays(page: Any, photo: Path) -> None:
    """After Cancel the button is back, nothing failed, and the same mask can be filled."""
    open_files(page, photo)
    paint(page, (44, 30), (56, 30))
    before = mask_of(page)
    hurry(page, 5000)
    page.click("#run")
    page.click("#cancel")
    page.wait_for_selector("#run-row:not([hidden])")
    assert page.locator("#job-error").is_hidden()
    assert np.array_equal(mask_of(page), before)
    page.fill("#set-steps", "2")
    page.click("#run")
    page.wait_for_selector("#result-actions:not([hidden])")


def test_undo_redo_erase_invert_and_grow(page: Any, photo: Path) -> None:
    """Each step changes the mask as it says, and undo takes each back."""
    open_files(page, photo)
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


def test_soft_strokes_are_those_of_a_distance(page: Any) -> None:
    """A soft brush falls off with the distance to the stroke, and growing takes a disc."""
    paint_in_browser = """async () => {
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
    soft, hard, grown = np.array(page.evaluate(paint_in_browser)).reshape(3, 64, 96)
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


def test_lasso_polygon_and_rectangle(page: Any, photo: Path) -> None:
    """A drag of the lasso, its clicks, and a rectangle paint what they go round."""
    open_files(page, photo)
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


def test_a_reload_in_the_middle_finds_image_mask_and_job_again(page: Any, photo: Path) -> None:
    """Photo, painted mask and the running job are there after a reload."""
    open_files(page, photo)
    paint(page, (44, 30), (56, 30))
    before = mask_of(page)
    hurry(page, 5000)
    page.click("#run")
    page.wait_for_selector("#progress:not([hidden])")
    page.reload()
    page.wait_for_selector("#progress:not([hidden])")
    page.wait_for_selector("#stage[data-image]")
    assert page.inner_text("#info-name") == "photo.png"
    page.wait_for_selector("[data-action=undo]:not([disabled])")
    assert np.array_equal(mask_of(page), before)
    page.click("#cancel")
    page.wait_for_selector("#run-row:not([hidden])")


def test_a_wrong_file_is_told_in_one_sentence(page: Any, tmp_path: Path) -> None:
    """The name of the file is shown as text, and the page goes on."""
    wrong = tmp_path / "<b>notes.png"
    wrong.write_text("no image")
    with page.expect_file_chooser() as chooser:
        page.click("#empty [data-open=files]")
    chooser.value.set_files(str(wrong))
    page.wait_for_selector("#notice:not([hidden])")
    text = page.inner_text("#notice-text")
    assert "notes.png" in text
    assert len(text) <= 300
    assert page.locator("#notice b").count() == 0
    page.click("#dismiss")
    assert page.locator("#notice").is_hidden()


def test_a_wrong_setting_is_told_at_its_field(page: Any, photo: Path) -> None:
    """Nothing painted is told below the button, a wrong number at its field."""
    open_files(page, photo)
    page.click("#run")
    assert "Paint over" in page.inner_text("#run-error")
    paint(page, (44, 30), (56, 30))
    hurry(page, 0)
    page.click("#run")
    page.wait_for_selector("#set-steps[aria-invalid=true]")
    field = page.locator(".field:has(#set-steps) .field-error")
    assert "steps" in field.inner_text()


def test_the_server_is_killed_and_the_page_goes_on(
    page: Any, photo: Path, server: Any, context: Any
) -> None:
    """The page says so, keeps the mask, brings its photo to the new server, and fills."""
    open_files(page, photo)
    paint(page, (44, 30), (56, 30))
    before = mask_of(page)
    hurry(page, 5000)
    page.click("#run")
    page.wait_for_selector("#progress:not([hidden])")
    server.stop(signal.SIGKILL)
    page.wait_for_selector("#notice[data-kind=lost]:not([hidden])")
    assert "What you painted is kept" in page.inner_text("#notice-text")
    assert np.array_equal(mask_of(page), before)
    server.start()
    page.wait_for_selector("#notice[data-kind=note]")
    assert np.array_equal(mask_of(page), before)
    page.fill("#set-steps", "2")
    page.click("#run")
    page.wait_for_selector("#result-actions:not([hidden])")


def test_two_tabs_show_the_same_photos(page: Any, photo: Path, server: Any, context: Any) -> None:
    """A second tab has the photos and the results of the first, and a mask of its own."""
    open_files(page, photo)
    paint(page, (44, 30), (56, 30))
    other = context.new_page()
    other.goto(server.url)
    other.wait_for_selector("body.is-ready")
    other.wait_for_selector("#film-list li")
    assert mask_of(other).max() == 0
    hurry(page)
    page.click("#run")
    page.wait_for_selector("#result-actions:not([hidden])")
    other.bring_to_front()
    other.wait_for_selector("#result-list .card")
    other.close()


def test_axe_finds_nothing_serious(filled: Any, browser: Any) -> None:
    """Empty form, result, help and menu, light and dark: no serious or critical finding."""
    import axe_playwright_python

    script = Path(axe_playwright_python.__file__).parent / "axe.min.js"
    run = """async () => (await axe.run()).violations
        .filter((v) => ["serious", "critical"].includes(v.impact))
        .map((v) => [v.id, v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160))])"""
    client = filled.context.new_cdp_session(filled)
    client.send("Runtime.evaluate", {"expression": script.read_text()})
    for scheme in ("light", "dark"):
        filled.emulate_media(color_scheme=scheme)
        assert filled.evaluate(run) == []
    filled.click(".menu summary")
    assert filled.evaluate(run) == []
    filled.keyboard.press("Escape")
    filled.keyboard.press("?")
    assert filled.locator("#help-dialog").is_visible()
    assert filled.evaluate(run) == []


def test_no_width_scrolls_sideways(page: Any, photo: Path) -> None:
    """Neither the start nor a photo is wider than the window."""

    def fits(width: int) -> bool:
        page.set_viewport_size({"width": width, "height": 740})
        return int(page.evaluate("() => document.documentElement.scrollWidth")) <= width

    assert fits(360)
    open_files(page, photo)
    assert all(map(fits, (360, 390, 768, 1024)))


def test_a_photo_of_24_megapixels(page: Any, tmp_path: Path) -> None:
    """Open, paint, send the mask at full size, and fill a small hole."""
    y, x = np.mgrid[:4000, :6000]
    values = np.stack([x // 32, y // 24, 255 - x // 32], 2).astype(np.uint8)
    large = tmp_path / "photo.jpg"
    Image.fromarray(values).save(large, quality=90)
    open_files(page, large)
    assert page.inner_text("#info-size").startswith("6000 × 4000")
    set_radius(page, 40)
    paint(page, (3000, 2000), (3100, 2000))
    mask = mask_of(page)
    assert mask.shape == (4000, 6000)
    assert set(np.unique(mask)) == {0, 255}
    area = 80 * 100 + np.pi * 40**2
    assert int((mask > 0).sum()) == pytest.approx(area, rel=0.08)
    hurry(page)
    page.click("#run")
    page.wait_for_selector("#result-actions:not([hidden])", timeout=60_000)
    assert page.locator("#job-error").is_hidden()


def test_pinch_zooms_and_does_not_paint(page: Any, photo: Path) -> None:
    """Two fingers zoom to their middle; one finger paints."""
    open_files(page, photo)
    client = page.context.new_cdp_session(page)
    box = page.locator("#stage").bounding_box()
    x, y = page.evaluate(PLACE, [60, 40])
    x, y = box["x"] + x, box["y"] + y

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": px, "y": py, "id": k} for k, (px, py) in enumerate(places)]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    scale: Callable[[], float] = lambda: page.evaluate(  # noqa: E731
        """async () => (await import("/page/js/editor.js")).editor.view.scale"""
    )
    before = scale()
    touch("touchStart", (x - 50, y))
    touch("touchStart", (x - 50, y), (x + 50, y))
    touch("touchMove", (x - 100, y), (x + 100, y))
    touch("touchEnd")
    assert scale() == pytest.approx(2 * before, rel=0.1)
    assert mask_of(page).max() == 0
    touch("touchStart", (x, y))
    touch("touchMove", (x + 40, y))
    touch("touchEnd")
    assert mask_of(page).max() == 255


def test_a_mask_is_loaded_saved_and_drafted(page: Any, photo: Path, tmp_path: Path) -> None:
    """A file becomes the mask and is saved as it is; drafts of color and scratches are added."""
    wanted = np.zeros((80, 120), np.uint8)
    wanted[10:20, 30:50] = 255
    Image.fromarray(wanted).save(tmp_path / "mask.png")
    open_files(page, photo)
    page.click(".menu summary")
    with page.expect_file_chooser() as chooser:
        page.click("[data-action=loadMask]")
    chooser.value.set_files(str(tmp_path / "mask.png"))
    page.wait_for_selector("[data-action=undo]:not([disabled])")
    page.click(".menu summary")
    with page.expect_download() as download:
        page.click("[data-action=saveMask]")
    assert download.value.suggested_filename == "photo.mask.png"
    assert np.array_equal(np.asarray(Image.open(download.value.path())), wanted)
    page.keyboard.press("Delete")
    page.click(".menu summary")
    page.click("[data-action=byColor]")
    page.fill("#paint-color", "#141414")
    with page.expect_response("**/masks/color") as answer:
        page.click("#color-dialog button[value=find]")
    assert answer.value.status == 200
    page.wait_for_selector("#stage-area:not([aria-busy])")
    drafted = mask_of(page)
    assert drafted[25:35, 45:55].min() == 255
    assert drafted[60:].max() == 0
