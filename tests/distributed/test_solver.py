"""Images that are solved together: what each gets, and what one that fails leaves alone."""

import numpy as np
import pytest

import diffprior
from diffprior.distributed.solver import Item, Row, Solver, batch_length, batches
from diffprior.errors import ImageError, PriorError, SettingError
from diffprior.io.arrays import as_images

FAST = {"sigma": 0.1, "method": "dpir(start=0.2)", "steps": 1}
RNG = np.random.default_rng(0)


def image(height: int, width: int, channels: int = 3) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, channels), np.uint8)


def test_batches_hold_one_size() -> None:
    assert batches(["a", "b", "a", "a", "c", "a"], 2) == [[0, 2], [3, 5], [1], [4]]
    assert batches([], 3) == [] and batches([1, 1, 2], 1) == [[0], [1], [2]]


def test_a_batch_has_a_length(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (batch_length(None, "cpu"), batch_length(5, "cpu")) == (1, 5)
    for wrong in (0, 5000, 1.5):
        with pytest.raises(SettingError):
            batch_length(wrong, "cpu")  # type: ignore[arg-type]


def test_an_image_gets_what_it_gets_by_itself() -> None:
    """To the last bit on a CPU, whatever its size, its channels and its neighbors."""
    arrays = [image(16, 20), image(20, 16), image(16, 20), image(16, 20, 4), image(16, 20)]
    items = [Item(f"{k}.png", as_images(array)) for k, array in enumerate(arrays)]
    together = Solver(diffprior.denoise, FAST, 4).solve(items)
    for array, item, row in zip(arrays, items, together, strict=True):
        assert isinstance(row, Row)
        alone = diffprior.denoise(array, **FAST, ids=[item.name])
        values, alpha = row.samples[0]
        assert np.array_equal(item.images.restore_kind(values, alpha), alone.image)
        assert row.report["sigma"] == alone.report["sigma"]
        assert row.report["chi2"] == alone.report["chi2"]
    assert [row.report.get("batch") for row in together] == [3, None, 3, None, 3]


def test_masks_of_their_own_go_with_their_images() -> None:
    gray = [np.full((16, 16), 90, np.uint8), np.full((16, 16), 160, np.uint8)]
    masks = [np.zeros((16, 16), np.uint8) for _ in gray]
    masks[0][4:8, 4:8] = 255
    masks[1][8:12, 2:9] = 255
    items = [
        Item(str(k), as_images(x), {"mask": as_images(m)})
        for k, (x, m) in enumerate(zip(gray, masks, strict=True))
    ]
    rows = Solver(diffprior.inpaint, {"steps": 2, "method": "ddnm"}, 2).solve(items)
    for x, mask, row in zip(gray, masks, rows, strict=True):
        changed = row.samples[0][0][0, ..., 0] != x
        assert not changed[mask == 0].any() and row.report["batch"] == 2


def test_one_that_fails_leaves_the_others_alone() -> None:
    items = [Item(str(k), as_images(image(16, 16))) for k in range(3)]
    done = []

    def task(images, ids, **_):
        done.append(ids)
        if "1" in ids:
            raise ImageError("not this one")
        return diffprior.denoise(images, ids=ids, **FAST)

    task.task = diffprior.denoise.task
    rows = Solver(task, {}, 3).solve(items)
    assert [isinstance(row, Row) for row in rows] == [True, False, True]
    assert str(rows[1]) == "not this one" and done == [["0", "1", "2"], ["0"], ["1"], ["2"]]


def test_a_prior_stays_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffprior.runtime import placement

    loaded = []
    load = placement.load_prior
    monkeypatch.setattr(placement, "load_prior", lambda *a, **k: loaded.append(a) or load(*a, **k))
    solver = Solver(diffprior.denoise, FAST)
    for k in range(3):
        solver.solve([Item(str(k), as_images(image(16, 16)))])
    assert len(loaded) == 1
    with pytest.raises(PriorError):
        Solver(diffprior.denoise, FAST | {"prior": "/nowhere/at/all"}).solve(
            [Item("0", as_images(image(16, 16)))]
        )
