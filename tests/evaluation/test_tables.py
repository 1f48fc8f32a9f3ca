"""Tables of results: means of rows as markdown, and the page of a report."""

import math

from diffprior.evaluation import html, tables

from support.text import unpadded

ROWS = [
    {"method": "a", "mask": "box", "psnr": "30.0"},
    {"method": "a", "mask": "box", "psnr": "31.0"},
    {"method": "a", "mask": "text", "psnr": ""},
    {"method": "b", "mask": "text", "psnr": "n/a"},
    {"method": "b", "mask": "box", "psnr": "nan"},
]


def test_markdown_prints_text_as_it_is() -> None:
    text = tables.markdown(["method", "psnr"], [["`a(b=1)`", "1.50"], ["b", ""]])
    lines = unpadded(text).splitlines()
    assert lines[0] == "| method | psnr |" and lines[2:] == ["| `a(b=1)` | 1.50 |", "| b | |"]
    assert set(lines[1]) == {"|", "-"}


def test_missing_values_are_left_out_and_nan_is_not() -> None:
    assert tables.numbers(ROWS[:4], "psnr") == [30.0, 31.0]
    assert tables.mean(ROWS[:4], "psnr") == 30.5
    assert math.isnan(tables.mean(ROWS, "psnr")) and math.isnan(tables.mean([], "psnr"))


def test_methods_down_and_masks_across() -> None:
    table = tables.table(ROWS, "psnr", down="method", across=["mask", "text", "box"])
    assert table == [
        ["method", "text", "box", "n"],
        ["a", "n/a", "30.50", "3"],
        ["b", "n/a", "nan", "2"],
    ]


def test_a_page_escapes_its_texts() -> None:
    evil = "<script>\"a\" & 'b'</script>"
    section = html.Section(
        title=evil,
        text=[evil],
        tables=[html.Table(head=[evil], rows=[[evil]], faint=[0], title=evil)],
        notes=[evil],
        strips=[[html.Panel("data:image/jpeg;base64,AA+/==", evil)]],
    )
    page = html.page(evil, [evil], [section])
    assert evil not in page and page.count("<script>") == 1
    assert page.count("&lt;script&gt;") == 10  # the title twice, and each text once
    assert 'src="data:image/jpeg;base64,AA+/=="' in page and '<tr class="faint">' in page
    assert "<details>" in page and page.startswith("<!doctype html>") and page.endswith("</html>\n")
