"""The page in a real browser: a task is run, and what comes of it; and what can go wrong."""

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from support.page import (
    DONE,
    at,
    fill,
    hurry,
    mask_of,
    open_photos,
    paint,
    result_of,
    set_radius,
    state,
)

pytestmark = pytest.mark.browser

SHADE = """async ([x, y]) => {
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const { editor } = await import("/page/js/editor.js");
  const place = editor.view.toScreen(x, y).map((v) => v * Math.min(2, devicePixelRatio));
  return editor.stage.context.getImageData(...place, 1, 1).data[0];
}"""
AXE = """async () => (await axe.run()).violations
    .filter((v) => ["serious", "critical"].includes(v.impact))
    .map((v) => [v.id, v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160))])"""


@pytest.fixture
def painted(page: Any, photo: Path) -> Any:
    """The page with a photo and a painted spot."""
    open_photos(page, photo)
    set_radius(page, 8)
    paint(page, (44, 30), (56, 30))
    return page


def test_a_painted_spot_is_filled_and_all_else_is_the_same_to_the_bit(
    painted: Any, photo: Path
) -> None:
    """Open, paint, fill, download; compare with the original; go on with the result."""
    page = painted
    hurry(page)
    fill(page)
    mask, before, after = mask_of(page), np.asarray(Image.open(photo)), result_of(page)
    assert mask.shape == (80, 120)
    assert set(np.unique(mask)) == {0, 255}
    assert np.array_equal(after[mask == 0], before[mask == 0])
    assert (after[25:35, 45:55].mean(axis=(0, 1)) > 60).all()  # it was 20
    check_recipe(page)
    check_divider(page)
    check_hold(page)
    page.click("#go-on")
    page.locator("#film-list li").nth(1).wait_for()
    page.wait_for_selector("#results", state="hidden")
    assert "photo" in page.inner_text("#info-name")


def test_an_answer_that_comes_late_does_not_take_a_new_image_away(painted: Any) -> None:
    """The page asks what there is; the result becomes an image; then the answer comes."""
    page, late = painted, []

    def hold(route: Any) -> None:
        if route.request.method != "GET" or late:
            return route.continue_()
        late.append((route, route.fetch()))

    hurry(page)
    fill(page)
    page.route("**/api/v1/images", hold)
    page.evaluate(
        """async () => {
          const { session } = await import("/page/js/session.js");
          window.look = session.refresh();
        }"""
    )
    page.click("#go-on")
    page.locator("#film-list li").nth(1).wait_for()
    route, before = late[0]
    route.fulfill(response=before)
    page.evaluate("() => window.look")
    assert page.locator("#film-list li").count() == 2
    assert page.is_hidden("#results")


def check_recipe(page: Any) -> None:
    """The command line, the Python and the report are below the result."""
    page.click("#details summary >> nth=0")
    assert page.inner_text("#command").startswith("diffprior inpaint photo.png --mask")
    assert page.inner_text("#python").count("diffprior.inpaint(") == 1
    page.click("#report summary")
    assert "method" in page.inner_text("#report-list")


def check_divider(page: Any) -> None:
    """The divider follows the mouse."""
    page.click("#compare")
    assert float(page.input_value("#divider")) == 0.5
    page.mouse.click(*at(page, 30, 40))
    assert float(page.input_value("#divider")) == pytest.approx(0.25, abs=0.02)
    page.click("#compare")


def check_hold(page: Any) -> None:
    """The original shows while the button is held."""
    assert page.evaluate(SHADE, [50, 30]) > 60
    page.hover("#hold")
    page.mouse.down()
    assert page.evaluate(SHADE, [50, 30]) == 20
    page.mouse.up()


def test_three_samples_with_a_veil_of_what_is_invented(painted: Any) -> None:
    """Three cards to choose from beside the original, and a button for the veil."""
    page = painted
    hurry(page, 1)
    page.locator(".samples label").nth(1).click()
    page.check("#set-invented")
    fill(page)
    assert page.locator("#result-list .card").count() == 4
    page.locator("#result-list .card").nth(2).click()
    page.click("#veil")
    page.wait_for_selector("#veil[aria-pressed=true]")


def test_a_job_is_canceled_and_the_mask_stays(painted: Any) -> None:
    """After Cancel the button is back, nothing failed, and the same mask can be filled."""
    page = painted
    before = mask_of(page)
    hurry(page, 5000)
    page.click("#run")
    page.click("#cancel")
    page.wait_for_selector("#run-row:not([hidden])")
    assert page.locator("#job-error").is_hidden()
    assert np.array_equal(mask_of(page), before)
    page.fill("#set-steps", "2")
    fill(page)


def test_a_reload_in_the_middle_finds_image_mask_and_job_again(painted: Any) -> None:
    """Photo, painted mask and the running job are there after a reload."""
    page = painted
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
    open_photos(page, photo)
    page.click("#run")
    assert "Paint over" in page.inner_text("#run-error")
    paint(page, (44, 30), (56, 30))
    hurry(page, 0)
    page.click("#run")
    page.wait_for_selector("#set-steps[aria-invalid=true]")
    field = page.locator(".field:has(#set-steps) .field-error")
    assert "steps" in field.inner_text()
    assert page.inner_text("#more").count("More settings") == 1


def test_the_server_is_killed_and_the_page_goes_on(
    painted: Any, server: Any, context: Any, tmp_path: Path
) -> None:
    """The page says so, keeps the mask, brings its photos to the new server, and fills.

    So it does with a photo that was opened before a reload, and another tab brings none twice.
    What is painted from then on outlives a reload.
    """
    page = painted
    page.wait_for_timeout(200)  # until the mask is kept
    with page.expect_response("**/file"):  # the page has no file any more, and asks for it
        page.reload()
    other = another_tab(context, server)
    second = tmp_path / "second.png"
    Image.new("RGB", (90, 60), (80, 120, 160)).save(second)
    open_photos(page, second)
    page.locator("#film-list .tile").nth(0).click()
    page.wait_for_selector("[data-action=undo]:not([disabled])")
    before = mask_of(page)
    old = page.get_attribute("#stage", "data-image")
    hurry(page, 5000)
    page.click("#run")
    page.wait_for_selector("#progress:not([hidden])")
    server.stop(signal.SIGKILL)
    page.wait_for_selector("#notice[data-kind=lost]:not([hidden])")
    assert "What you painted is kept" in page.inner_text("#notice-text")
    assert np.array_equal(mask_of(page), before)
    server.start()
    for tab in (page, other):
        tab.wait_for_selector("#notice[data-kind=note]")
        assert tab.inner_text("#notice-text") == "The server is back."
        assert tab.locator("#film-list li").count() == 2
    other.close()
    assert [image["name"] for image in server.client.get("/api/v1/images").json()] == [
        "photo.png",
        "second.png",
    ]
    page.wait_for_selector(f"#stage[data-image]:not([data-image='{old}'])")
    assert np.array_equal(mask_of(page), before)
    page.fill("#set-steps", "2")
    fill(page)
    paint(page, (90, 60))
    assert state(page)["steps"] == 2
    page.wait_for_timeout(200)  # until it is kept
    page.reload()
    page.wait_for_selector("#stage[data-image]")
    page.wait_for_selector("[data-action=undo]:not([disabled])")
    assert state(page)["steps"] == 2


def another_tab(context: Any, server: Any) -> Any:
    """A second tab, when it shows the photos of the first one."""
    other = context.new_page()
    other.goto(server.url)
    other.wait_for_selector("body.is-ready")
    other.wait_for_selector("#film-list li")
    return other


def test_two_tabs_show_the_same_photos(painted: Any, server: Any, context: Any) -> None:
    """A second tab has the photos and the results of the first, and a mask of its own."""
    other = another_tab(context, server)
    assert mask_of(other).max() == 0
    hurry(painted)
    fill(painted)
    other.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")  # as one looks
    other.wait_for_selector("#result-list .card")
    other.close()


def test_axe_finds_nothing_serious(painted: Any) -> None:
    """Result, menu and help, light and dark: no serious or critical finding."""
    import axe_playwright_python

    page = painted
    hurry(page)
    fill(page)
    script = Path(axe_playwright_python.__file__).parent / "axe.min.js"
    client = page.context.new_cdp_session(page)
    client.send("Runtime.evaluate", {"expression": script.read_text()})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(AXE) == []
    page.click(".menu summary")
    assert page.evaluate(AXE) == []
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.locator("#help-dialog").is_visible()
    assert page.evaluate(AXE) == []


def test_no_width_scrolls_sideways(page: Any, photo: Path) -> None:
    """Neither the start nor a photo is wider than the window; the button is in sight on a phone."""

    def fits(width: int) -> bool:
        page.set_viewport_size({"width": width, "height": 740})
        return int(page.evaluate("() => document.documentElement.scrollWidth")) <= width

    assert fits(360)
    open_photos(page, photo)
    assert all(map(fits, (1024, 768, 390, 360)))
    box = page.locator("#run").bounding_box()
    assert box["y"] + box["height"] <= 740


def test_a_photo_of_24_megapixels(page: Any, tmp_path: Path) -> None:
    """Open, paint, send the mask at full size, and fill a small hole."""
    y, x = np.mgrid[:4000, :6000]
    values = np.stack([x // 32, y // 24, 255 - x // 32], 2).astype(np.uint8)
    large = tmp_path / "photo.jpg"
    Image.fromarray(values).save(large, quality=90)
    open_photos(page, large)
    assert page.inner_text("#info-size").startswith("6000 × 4000")
    set_radius(page, 40)
    paint(page, (3000, 2000), (3100, 2000))
    mask = mask_of(page)
    assert mask.shape == (4000, 6000)
    assert set(np.unique(mask)) == {0, 255}
    area = 80 * 100 + np.pi * 40**2
    assert int((mask > 0).sum()) == pytest.approx(area, rel=0.08)
    hurry(page)
    fill(page)
    assert page.locator("#job-error").is_hidden()


def test_all_photos_are_done_by_one_press(page: Any, photo: Path, tmp_path: Path) -> None:
    """Where no mask is needed, one button has a job for each photo of the strip."""
    second = tmp_path / "second.png"
    Image.fromarray(255 - np.asarray(Image.open(photo))).save(second)
    open_photos(page, photo, second)
    assert page.locator("#run-all").is_hidden()  # a fill is of one mask
    page.get_by_role("tab", name="Clean").click()
    page.evaluate("() => document.querySelector('#more').setAttribute('open', '')")
    page.fill("#set-sigma", "0.1")
    page.fill("#set-steps", "1")
    assert page.inner_text("#run-all") == "All 2 photos"
    page.click("#run-all")
    page.wait_for_selector(DONE)
    page.locator(".badge[data-state=done]").nth(1).wait_for()
    page.locator("#film-list .tile").nth(1).click()
    page.wait_for_selector("#result-list .card:has-text('Cleaned')")
