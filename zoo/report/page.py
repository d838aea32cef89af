"""A page of HTML that holds everything it shows."""

import base64
import dataclasses
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:.5em 0}td,th{padding:.15em .6em;text-align:right}"
    "th{font-weight:600}tr>:first-child{text-align:left}.wide{overflow-x:auto}"
    "figure{display:inline-block;margin:.4em;text-align:center;font-size:13px}"
    "figure img{image-rendering:pixelated;width:128px;height:128px;object-fit:contain}"
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


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as HTML; cells are plain text."""
    lines = [_row("th", header), *(_row("td", row) for row in rows)]
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def picture(image: np.ndarray, caption: str) -> str:
    """An image [height, width, 1 or 3] of uint8 as a figure with its caption below."""
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    shown = f'<img alt="" src="data:image/png;base64,{data}">'
    return f"<figure>{shown}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _row(cell: str, values: Sequence[Any]) -> str:
    return "<tr>" + "".join(f"<{cell}>{html.escape(str(v))}</{cell}>" for v in values) + "</tr>"
