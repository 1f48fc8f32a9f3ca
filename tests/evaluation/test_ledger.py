"""Ledgers: what was written is known again, and what a kill cut off is not."""

from pathlib import Path

from diffprior.evaluation.ledger import Ledger

FIELDS = ("picture", "method", "psnr", "error")


def test_rows_are_known_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.csv"
    first = Ledger(path, FIELDS, 2)
    assert first.add({"picture": "a, b.png", "method": "dpir", "psnr": 31.5})["error"] == ""
    first.add({"picture": "c.png", "method": "dpir", "error": 'no "mask"'})
    again = Ledger(path, FIELDS, 2)
    assert again.rows == first.rows and [r["psnr"] for r in again.rows] == ["31.5", ""]
    assert ("a, b.png", "dpir") in again and ("a, b.png", "dps") not in again
    assert path.read_text().count("image,method") == 1


def test_a_line_without_its_end_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    Ledger(path, FIELDS, 2).add({"picture": "a.png", "method": "dps", "psnr": 20})
    path.write_text(path.read_text() + "b.png,dps,2")
    again = Ledger(path, FIELDS, 2)
    assert len(again.rows) == 1 and ("b.png", "dps") not in again
    again.add({"picture": "b.png", "method": "dps", "psnr": 21})
    assert [r["psnr"] for r in Ledger(path, FIELDS, 2).rows] == ["20", "21"]


def test_keys_of_any_kind_are_compared_as_text(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "rows.csv", ("seed", "psnr"), 1)
    ledger.add({"seed": 3, "psnr": 1.5})
    assert (3,) in ledger and ("3",) in ledger and (4,) not in ledger
