"""A page of HTML that holds everything it shows."""

import base64
import dataclasses
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

_LARGEST_SIDE = 256
_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:.5em 0}td,th{padding:.15em .6em;text-align:right}"
    "th{font-weight:600}tr>:first-child{text-align:left}.wide{overflow-x:auto}"
    "td{white-space:nowrap}tr+tr{border-top:1px solid #e4e4e4}tr.kept{background:#e9f1fe}"
    "figure{display:inline-block;vertical-align:top;width:128px;margin:.4em;text-align:center;"
    "font-size:13px;line-height:1.3;overflow-wrap:anywhere}"
    "figure img{image-rendering:pixelated;width:128px;height:128px;object-fit:contain;"
    "background:#f4f4f4}img.chart{max-width:100%;height:auto}"
    ".warning{background:#fff6e0;padding:.4em .8em;margin:.4em 0;overflow-wrap:anywhere}"
    "svg{max-width:100%;height:auto}pre{background:#f4f4f4;padding:.7em;overflow-x:auto}"
)


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading, a paragraph of plain text, and HTML below it."""

    title: str
    text: str
    body: str = ""


def page(title: str, sections: Sequence[Section], summary: str = "") -> str:
    """The page; `title` and `summary` are plain text."""
    parts = [f"<h1>{html.escape(title)}</h1>"]
    for section in (Section("", summary), *sections):
        parts.append(f"<h2>{html.escape(section.title)}</h2>" if section.title else "")
        parts.append(f"<p>{html.escape(section.text)}</p>" if section.text else "")
        parts.append(section.body)
    head = f"<meta charset=utf-8><title>{html.escape(title)}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang=en>{head}{''.join(parts)}</html>\n"


def table(
    header: Sequence[str], rows: Sequence[Sequence[Any]], *, id: str = "", kept: int | None = None
) -> str:
    """A table as HTML; cells are plain text.

    Args:
      header: names of the columns.
      rows: of as many cells.
      id: by which programs find the table in the page.
      kept: number of the row that is marked.
    """
    body = (_row("td", row, marked=number == kept) for number, row in enumerate(rows))
    named = f' id="{html.escape(id)}"' if id else ""
    return f'<div class="wide"><table{named}>{_row("th", header)}{"".join(body)}</table></div>'


def picture(image: np.ndarray, caption: str) -> str:
    """An image [height, width, 1 or 3] of uint8 as a figure with its lines of text below."""
    buffer = io.BytesIO()
    shown = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    shown.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    shown.save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    text = html.escape(caption).replace("\n", "<br>")
    return (
        f'<figure><img alt="" src="data:image/png;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _row(cell: str, values: Sequence[Any], *, marked: bool = False) -> str:
    start = '<tr class="kept">' if marked else "<tr>"
    return start + "".join(f"<{cell}>{html.escape(str(v))}</{cell}>" for v in values) + "</tr>"
