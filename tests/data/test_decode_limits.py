"""What one image may cost: hostile files are refused in time, usual ones are as before."""

import io
import struct
import time

import numpy as np
import pytest
from PIL import Image

from zoo.data import BadImageError, Preprocessing, decode_image, decode_limits
from zoo.data.fast_decode import crop_of_jpeg


def _encoded(side, format, **options):
    buffer = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), 128, np.uint8)).save(buffer, format, **options)
    return buffer.getvalue()


def _repeated_scans(side, count, **options):
    """A JPEG file whose last scan stands there `count` times, each a pass over all pixels."""
    data = _encoded(side, "JPEG", **options)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + b"\xff\xd9"


def _text_ppm(side):
    return b"P3 %d %d 255\n" % (side, side) + b"7 " * (3 * side * side)


def _runs_of_one(side):
    """A BMP whose run-length code has a run for every pixel."""
    runs = (b"\x01\x05" * side + b"\x00\x00") * side + b"\x00\x01"
    start = 14 + 40 + 1024
    file = b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start)
    about = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(runs), 0, 0, 256, 256)
    return file + about + bytes(1024) + runs


def _refused(data, match):
    began = time.thread_time()
    with pytest.raises(BadImageError, match=match) as caught:
        decode_image(data, name="x.img")
    assert str(caught.value).startswith("x.img: ") and "\n" not in str(caught.value)
    return time.thread_time() - began


def test_a_jpeg_of_a_thousand_scans_is_refused_before_it_is_decoded():
    hostile = _repeated_scans(2000, 1000, progressive=True)
    assert len(hostile) < 50_000
    assert _refused(hostile, "goes over its 2000 x 2000 pixels too often") < 0.1
    usual = _repeated_scans(2000, 3, progressive=True)
    assert decode_image(usual).shape == (2000, 2000, 3)


def test_the_fast_crop_leaves_such_a_file_to_the_decoder():
    pytest.importorskip("simplejpeg")
    preprocessing = Preprocessing((32, 32))
    usual, hostile = (_repeated_scans(1000, count) for count in (1, 3000))
    assert crop_of_jpeg(usual, lambda h, w: (0, 0, h, w), preprocessing) is not None
    assert crop_of_jpeg(hostile, lambda h, w: (0, 0, h, w), preprocessing) is None


def test_webp_has_a_lower_limit_of_pixels(monkeypatch):
    hostile = _encoded(200, "WEBP", lossless=True)
    assert decode_image(hostile).shape == (200, 200, 3)
    monkeypatch.setattr(decode_limits, "_MAX_WEBP_PIXELS", 39_999)
    _refused(hostile, "200 x 200 pixels are more than the 39,999 allowed")
    assert decode_image(_encoded(200, "PNG")).shape == (200, 200, 3)


@pytest.mark.parametrize("kind", [_text_ppm, _runs_of_one])
def test_slow_decoders_are_stopped_by_the_clock(monkeypatch, kind):
    assert decode_image(kind(50)).shape == (50, 50, 3)
    monkeypatch.setattr(decode_limits, "MAX_SECONDS", 0.1)
    assert _refused(kind(1000), "takes more than 0.1 s to decode") < 1.0
