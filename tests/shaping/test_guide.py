"""Every block of code in docs/shaping.md runs."""

import re

import pytest

from tests.conftest import REPOSITORY

BLOCKS = re.findall(
    r"```python\n(.*?)```", (REPOSITORY / "docs" / "shaping.md").read_text(), re.DOTALL
)


@pytest.mark.parametrize("index", range(len(BLOCKS)))
def test_block_runs(index, capsys):
    exec(compile(BLOCKS[index], "docs/shaping.md", "exec"), {"__name__": "guide"})
    assert capsys.readouterr().out.strip()
