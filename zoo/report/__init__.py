"""What reports are made of: one kind of chart, one page that needs nothing but itself."""

from zoo.report.charts import (
    Figure,
    Panel,
    Series,
    digest,
    digest_in,
    draw,
)
from zoo.report.page import Section, page, picture, table

__all__ = [
    "Figure",
    "Panel",
    "Section",
    "Series",
    "digest",
    "digest_in",
    "draw",
    "page",
    "picture",
    "table",
]
