"""The demo shows what it says; the page it is made of holds all that it shows."""

import base64
import io
import re

import numpy as np
from PIL import Image

from zoo.demo.running import most_confused
from zoo.evaluation.examples import Answers
from zoo.report import Section, page, picture, table


def _answers(pairs):
    label, predicted = (np.array(side, np.int32) for side in zip(*pairs, strict=True))
    rank = (label != predicted).astype(np.int32)
    ones = np.ones(len(label), np.float32)
    return Answers(label, predicted, rank, ones, ones)


def test_the_classes_of_the_demo_are_those_that_mistakes_involve():
    right = [(0, 0)] * 50
    wrong = [(4, 1), (1, 4), (4, 1), (3, 1)]
    answers = _answers(right + wrong)
    assert most_confused(answers, tuple("abcde"), 2) == ("b", "e")
    assert most_confused(answers, tuple("abcde"), 3) == ("b", "d", "e")
    assert most_confused(_answers(right), tuple("abcde"), 2) == ("a", "b")


def test_a_page_needs_nothing_but_itself_and_escapes_what_it_is_given():
    image = np.arange(75, dtype=np.uint8).reshape(5, 5, 3)
    body = picture(image, "<3>") + table(["a & b"], [["<x>"]])
    text = page("T < U", [Section("S & T", "a < b", body)], summary="<sum>")
    for shown in ("T &lt; U", "S &amp; T", "a &lt; b", "&lt;3&gt;", "&lt;x&gt;", "&lt;sum&gt;"):
        assert shown in text
    assert not re.search(r"(src|href)=\"?http", text)
    data = re.search(r"base64,([^\"]+)\"", text)[1]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), image)
