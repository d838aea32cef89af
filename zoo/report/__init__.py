"""What reports are made of: one kind of chart, one page that needs nothing but itself."""

from zoo.report.charts import (
    Figure,
    MissingChartsError,
    Panel,
    Series,
    digest,
    digest_in,
    draw,
    require_charts,
)
from zoo.report.page import Section, page, picture, table

__all__ = [
    "Figure",
    "MissingChartsError",
    "Panel",
    "Section",
    "Series",
    "digest",
    "digest_in",
    "draw",
    "page",
    "picture",
    "require_charts",
    "table",
]
