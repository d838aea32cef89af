"""What decoding one image may cost: pixels, passes over them, and seconds.

A header of a few bytes announces millions of pixels, and a JPEG of 40 kB can hold a thousand
passes over them. Both are refused before any work; what remains is stopped by the clock.
"""

import io
import time

# WebP decodes in one call that nothing can stop, at about 0.07 s a megapixel (random noise, one
# core, Pillow 13.0) where PNG and JPEG take 0.01 to 0.03, and holds three copies of the picture.
_MAX_WEBP_PIXELS = 25_000_000
# Each scan of a JPEG goes over all pixels: 0.34 s for 1e9 here. Usual files have one or ten.
_MAX_SCANNED_PIXELS = 2_000_000_000
_SCAN = b"\xff\xda"  # compressed data holds no such pair, so at most a few too many are counted
MAX_SECONDS = 5.0


class TimedBytes(io.BytesIO):
    """A file in memory that can be read for five seconds of this thread's computing time.

    Pillow reads a file bit by bit while it decodes, and some of its decoders (run-length coded BMP,
    PPM as text) are written in Python and a hundred times slower than others.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._end = time.thread_time() + MAX_SECONDS

    def read(self, size: int | None = -1) -> bytes:
        """As of any file.

        Raises:
          OSError: five seconds are over.
        """
        if time.thread_time() > self._end:
            raise OSError(f"takes more than {MAX_SECONDS:g} s to decode")
        return super().read(size)


def pixels_allowed(format: str | None, max_pixels: int) -> int:
    """Of an image of a format, by Pillow's name, where `max_pixels` are of others."""
    return min(max_pixels, _MAX_WEBP_PIXELS) if format == "WEBP" else max_pixels


def has_too_many_scans(data: bytes, pixels: int) -> bool:
    """Whether a JPEG file goes over its pixels more often than any usual file does."""
    return data.count(_SCAN) * pixels > _MAX_SCANNED_PIXELS
