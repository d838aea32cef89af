"""No reader has another way out than a result or one sentence, however its content was made."""

import os
from unittest import mock

import pytest

from tests.fuzzing import file_formats, json_formats, text_formats
from tests.fuzzing.contract import property_of

FORMATS = (*json_formats.FORMATS, *file_formats.FORMATS, *text_formats.FORMATS)


# Pillow warns about a file it reads all the same.
@pytest.mark.fault("A17", "A19", "A22", "B3", "B13", "E3", "E5")
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_whatever_it_holds_it_is_read_or_refused_in_one_sentence(format, tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    # Readers are pointed at folders of their own; the next test finds what was set before.
    with mock.patch.dict(os.environ):
        property_of(format, tmp_path, format.examples)()
