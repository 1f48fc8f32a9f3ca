"""Ledgers: what was written is known again, and what a kill cut off is not."""

from pathlib import Path

from diffprior.io.ledger import Ledger, read_rows

FIELDS = ("picture", "method", "psnr", "error")


def test_rows_are_known_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.csv"
    first = Ledger(path, FIELDS, 2)
    assert first.add({"picture": "a, b.png", "method": "dpir", "psnr": 31.5})["error"] == ""
    first.add({"picture": "c.png", "method": "dpir", "error": 'no "mask"'})
    again = Ledger(path, FIELDS, 2)
    assert again.rows == first.rows and [r["psnr"] for r in again.rows] == ["31.5", ""]
    assert ("a, b.png", "dpir") in again and ("a, b.png", "dps") not in again
    assert path.read_text().count("picture,method") == 1


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


def test_json_lines_keep_their_types(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    ledger = Ledger(path, ("id",), 1)
    row = {"id": "a", "psnr": 31.25, "lpips": None, "note": 'a "b", c'}
    assert ledger.add(row) is row and read_rows(path) == [row]
    with path.open("a") as file:
        file.write('{"id": "b", "ps')
    assert read_rows(path) == [row]  # another process may still be writing the line
    again = Ledger(path, ("id",), 1)
    assert ("a",) in again and ("b",) not in again
    again.add({"id": "b"})
    assert read_rows(path) == [row, {"id": "b"}]


def test_a_new_column_keeps_the_old_rows(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    Ledger(path).add({"step": 1, "loss": 0.5})
    Ledger(path).add({"step": 2, "loss": 0.25, "hole": 30.1})
    Ledger(path).add({"step": 3, "loss": 0.125})
    assert path.read_text() == "step,loss,hole\n1,0.5,\n2,0.25,30.1\n3,0.125,\n"


def test_a_file_that_is_not_there_has_no_rows(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "rows.csv") == []
