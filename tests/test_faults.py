"""Every fault that we know of has a test, and the page says which."""

import pytest

from tests.conftest import REPOSITORY
from tools.pages import faults
from tools.pages.__main__ import main

PAGE = REPOSITORY / "docs" / "faults.md"


def test_the_page_is_what_the_tests_say(capsys):
    assert main(["faults", "--check"]) == 0, capsys.readouterr().out
    assert "89 of 89 faults have a test" in PAGE.read_text()


def test_every_link_of_the_page_leads_to_a_test():
    tests = faults.marked_tests(REPOSITORY / "tests")
    assert sum(map(len, tests.values())) == PAGE.read_text().count("](../tests/")
    assert all((REPOSITORY / test.file).is_file() for found in tests.values() for test in found)


@pytest.fixture
def other(tmp_path):
    """A function from a module's text to the page of a repository that has this module alone."""

    def page(text):
        (tmp_path / "tests").mkdir()
        (tmp_path / "tests" / "test_x.py").write_text(text)
        return faults.page(tmp_path, tmp_path)

    return page


def test_a_fault_without_test_and_a_test_without_fault_are_refused(other):
    marked = '@pytest.mark.fault("A1", "Z9")\ndef test_x():\n    pass\n'
    with pytest.raises(ValueError, match="A2 has no test.*; no fault is called Z9") as caught:
        other(marked)
    assert "A1 has" not in str(caught.value)


def test_slow_tests_are_shown_as_such(other, monkeypatch, tmp_path):
    (tmp_path / "few.toml").write_text('[A]\ntitle = "One"\nA1 = ["it breaks", "it is mended"]\n')
    monkeypatch.setattr(faults, "FAULTS", tmp_path / "few.toml")
    page = other('@pytest.mark.slow\n@pytest.mark.fault("A1")\ndef test_it_holds():\n    pass\n')
    assert "1 of 1 faults have a test" in page.text
    assert (
        "| A1 | it breaks | it is mended | [*it holds*](../tests/test_x.py) |"
        in page.text.splitlines()
    )
