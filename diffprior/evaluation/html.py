"""One page of HTML that loads nothing else: text, tables that sort by a click, and images."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple

from torch import Tensor

from ..io.arrays import to_pil
from . import tables

__all__ = ["Panel", "Section", "Table", "image_source", "page"]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of text.

    Arguments:
        head: Titles of the columns.
        rows: Cells of each row.
        faint: Numbers of the rows that are printed in italics.
        title: Title under which the table is folded; empty for a table that is always open.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    faint: Sequence[int] = ()
    title: str = ""


class Panel(NamedTuple):
    """An image and its caption."""

    source: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page.

    Arguments:
        title: Heading.
        text: Paragraphs before the tables.
        tables: Tables.
        notes: Paragraphs in small print after the tables.
        strips: Rows of images.
    """

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    strips: Sequence[Sequence[Panel]] = ()


def image_source(x: Tensor) -> str:
    """Return an image as a data URI of a JPEG of quality 92.

    Arguments:
        x: Image of shape ``(3, H, W)``; values are clipped to [-1, 1].
    """
    file = BytesIO()
    to_pil(x).save(file, "JPEG", quality=92, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def page(title: str, text: Sequence[str], sections: Sequence[Section]) -> str:
    """Return the page. In the texts, what is special in HTML or not printable is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("diffprior.evaluation"),
        autoescape=True,
        finalize=lambda value: tables.plain(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.get_template("report.html.j2")
    return template.render(title=title, text=text, sections=sections)
