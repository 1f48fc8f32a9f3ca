"""One page of HTML that needs nothing else: text, tables that sort by a click, images."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO

from torch import Tensor

from ..io.arrays import to_pil

__all__ = ["Section", "Table", "page", "source"]

STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 96em; padding: 0 1em }
table { border-collapse: collapse; margin: 1em 0 }
td, th { padding: .25em .6em; border-bottom: 1px solid #ddd; text-align: right }
td { white-space: nowrap }
td:first-child, th:first-child { text-align: left; white-space: normal }
th { cursor: pointer; background: #f4f4f4 }
.faint { color: #666 }
.faint p { margin: .2em 0; font-size: 12px }
tr.faint { font-style: italic }
.strip { display: flex; flex-wrap: wrap; gap: 6px; margin: .5em 0 1.5em }
figure { margin: 0; width: 208px }
img { width: 100%; image-rendering: pixelated; display: block }
figcaption { font-size: 11px; overflow-wrap: anywhere }
"""
SORT = """
for (const head of document.querySelectorAll("th")) head.onclick = () => {
  const body = head.closest("table").tBodies[0], way = head.way = -(head.way || -1);
  const value = row => row.cells[head.cellIndex].textContent;
  const order = (a, b) => {
    const [x, y] = [parseFloat(a), parseFloat(b)];
    if (isNaN(x) && isNaN(y)) return way * a.localeCompare(b);
    return isNaN(x) - isNaN(y) || way * (x - y);
  };
  body.append(...[...body.rows].sort((a, b) => order(value(a), value(b))));
};
"""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Heads and rows of text, some of them faint by their numbers; folded under a title."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    faint: Sequence[int] = ()
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading, paragraphs, tables, notes, and strips of images: (source, caption) each."""

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    strips: Sequence[Sequence[tuple[str, str]]] = ()


def source(x: Tensor) -> str:
    """Return an image ``(3, H, W)`` in [-1, 1] as a data URI, a JPEG of quality 92."""
    file = BytesIO()
    to_pil(x).save(file, "JPEG", quality=92, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def page(title: str, text: Sequence[str], sections: Sequence[Section]) -> str:
    """Return the page; all text is taken as it is, with no HTML in it."""
    parts = [f"<h1>{escape(title)}</h1>", *_paragraphs(text)]
    for section in sections:
        parts += [f"<h2>{escape(section.title)}</h2>", *_paragraphs(section.text)]
        parts += [*map(_table, section.tables), '<div class="faint">']
        parts += [*_paragraphs(section.notes), "</div>", *map(_strip, section.strips)]
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + f"\n<script>{SORT}</script>\n</body>\n</html>\n"
    )


def _paragraphs(text: Sequence[str]) -> list[str]:
    return [f"<p>{escape(t)}</p>" for t in text]


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    rows = []
    for k, row in enumerate(table.rows):
        kind = ' class="faint"' if k in table.faint else ""
        rows.append(f"<tr{kind}>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>")
    body = "\n".join(rows)
    whole = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    if not table.title:
        return whole
    return f"<details>\n<summary>{escape(table.title)}</summary>\n{whole}\n</details>"


def _strip(strip: Sequence[tuple[str, str]]) -> str:
    figures = (
        f'<figure><img src="{src}" alt=""><figcaption>{escape(caption)}</figcaption></figure>'
        for src, caption in strip
    )
    return '<div class="strip">\n' + "\n".join(figures) + "\n</div>"
