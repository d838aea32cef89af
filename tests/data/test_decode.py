"""One defined result, or a named refusal, for every kind of image file."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from zoo.data import BadImageError, decode_image
from zoo.data.decode import is_turned

GENERATOR = np.random.default_rng(3)
RGB = GENERATOR.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = GENERATOR.integers(0, 256, (5, 7), dtype=np.uint8)
ALPHA = GENERATOR.integers(0, 256, (5, 7), dtype=np.uint8)


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def luma(rgb: np.ndarray) -> np.ndarray:
    """ITU-R 601-2 in 16-bit fixed point, rounded: 0.299 R + 0.587 G + 0.114 B."""
    weights = np.array([19595, 38470, 7471])
    return ((rgb.astype(np.int64) @ weights + 0x8000) >> 16).astype(np.uint8)


def cmyk_to_rgb(cmyk: np.ndarray) -> np.ndarray:
    """Naive conversion (255 - C)(255 - K) / 255, to one level."""
    ink, black = 255 - cmyk[..., :3].astype(float), 255 - cmyk[..., 3:].astype(float)
    return ink * black / 255


def palette_picture(transparency: bytes | None) -> tuple[bytes, np.ndarray]:
    colours = GENERATOR.integers(0, 256, (4, 3), dtype=np.uint8)
    picture = Image.new("P", GREY.shape[::-1])
    picture.putpalette(colours.tobytes())
    picture.putdata((GREY % 4).ravel().tolist())
    options = {} if transparency is None else {"transparency": transparency}
    return encoded(picture, **options), colours[GREY % 4]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF"])
def test_lossless_files_give_their_pixels(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    picture = Image.fromarray(GREY if kind == "GIF" else RGB)
    expected = np.repeat(GREY[..., None], 3, 2) if kind == "GIF" else RGB
    assert np.array_equal(decode_image(encoded(picture, kind, **options)), expected)


def test_grey_is_repeated_for_three_channels_and_kept_for_one():
    data = encoded(Image.fromarray(GREY))
    assert np.array_equal(decode_image(data, 3), np.repeat(GREY[..., None], 3, 2))
    assert np.array_equal(decode_image(data, 1), GREY[..., None])


def test_one_channel_of_a_colour_image_is_its_luma():
    assert np.array_equal(decode_image(encoded(Image.fromarray(RGB)), 1)[..., 0], luma(RGB))


def test_transparency_is_dropped_and_the_colours_under_it_show():
    rgba = encoded(Image.fromarray(np.dstack([RGB, ALPHA])))
    assert np.array_equal(decode_image(rgba), RGB)
    la = encoded(Image.fromarray(np.dstack([GREY, ALPHA])))
    assert np.array_equal(decode_image(la, 1)[..., 0], GREY)


@pytest.mark.parametrize("transparency", [None, bytes([0, 128, 255, 7])])
def test_palettes_give_their_colours(transparency):
    data, expected = palette_picture(transparency)
    assert np.array_equal(decode_image(data), expected)


def test_sixteen_bit_grey_keeps_the_high_byte():
    values = GENERATOR.integers(0, 65536, (5, 7), dtype=np.uint16)
    data = encoded(Image.fromarray(values))
    assert np.array_equal(decode_image(data, 1)[..., 0], values >> 8)


def test_sixteen_bit_colour_keeps_the_high_byte():
    values = GENERATOR.integers(0, 65536, (2, 3, 3), dtype=np.uint16)
    assert np.array_equal(decode_image(png16(values)), values >> 8)


def png16(values: np.ndarray) -> bytes:
    """16-bit RGB PNG, which Pillow reads but does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_bilevel_is_black_and_white():
    picture = Image.fromarray(np.where(GREY > 127, 255, 0).astype(np.uint8)).convert("1")
    expected = np.where(GREY > 127, 255, 0)
    assert np.array_equal(decode_image(encoded(picture), 1)[..., 0], expected)


@pytest.mark.fault("E3")
def test_cmyk_jpeg_becomes_rgb():
    flat = np.empty((16, 16, 4), np.uint8)
    flat[:] = (40, 90, 200, 30)
    data = encoded(Image.frombytes("CMYK", (16, 16), flat.tobytes()), "JPEG", quality=100)
    # One level from JPEG's rounding of each ink, one from the product's.
    assert np.abs(decode_image(data) - cmyk_to_rgb(flat)).max() <= 2


@pytest.mark.parametrize("orientation", range(10))  # 0 and 9 mean nothing
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_ignored_or_followed(kind, orientation):
    data = encoded(Image.fromarray(RGB), kind, exif=oriented(orientation))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert np.array_equal(decode_image(data, upright=True), upright)
    stored = np.asarray(Image.open(io.BytesIO(data)))  # Pillow turns TIFF in any case
    assert np.array_equal(decode_image(data), stored)
    assert is_turned(data) == (2 <= orientation <= 8)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow on damaged metadata
def test_damaged_metadata_turns_nothing():
    data = bytearray(encoded(Image.fromarray(RGB), "JPEG", exif=oriented(6)))
    place = data.index(b"Exif\0\0") + 6
    data[place : place + 8] = b"II*\0\xff\xff\xff\x7f"  # the entries lie beyond the end
    assert decode_image(bytes(data), upright=True).shape == RGB.shape


@pytest.mark.parametrize(("most", "scale"), [(4800, 1), (4799, 2), (1199, 4), (299, 8)])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_large_jpeg_is_decoded_at_the_largest_fraction_that_fits(most, scale, progressive):
    rows, columns = np.mgrid[:60, :80]
    ramp = np.stack([3 * rows, 3 * columns, 2 * rows + columns], -1).astype(np.uint8)
    data = encoded(Image.fromarray(ramp), "JPEG", quality=95, progressive=progressive)
    size = -(-60 // scale), -(-80 // scale)
    small = decode_image(data, max_pixels=most)
    assert small.shape == (*size, 3)
    box = Image.fromarray(ramp).resize(size[::-1], Image.Resampling.BOX)
    assert np.abs(small - np.asarray(box, np.float64)).mean() < 3  # of 256: JPEG and the DCT's size
    with pytest.raises(BadImageError, match="80 x 60 pixels are more than the 79 allowed; scale"):
        decode_image(data, max_pixels=79)


def test_fifty_megapixels_and_more_are_read_without_a_word():
    data = encoded(Image.new("L", (10_000, 9_000), 77), "JPEG")  # 90 million: Pillow would warn
    assert decode_image(data, 1).shape == (4500, 5000, 1)


@pytest.mark.slow
def test_two_hundred_megapixels_are_read():
    data = encoded(Image.new("L", (16_320, 12_240), 77), "JPEG")  # where Pillow would refuse
    pixels = decode_image(data, 1)
    assert pixels.shape == (6120, 8160, 1) and (pixels == 77).all()


def test_the_first_frame_of_an_animation_counts():
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.array_equal(decode_image(data, 1)[..., 0], GREY)


def test_one_pixel_is_an_image():
    assert decode_image(encoded(Image.fromarray(RGB[:1, :1]))).shape == (1, 1, 3)


def test_every_real_jpeg_equals_pillow(imagenet_jpegs):
    for path in imagenet_jpegs[::5]:
        assert np.array_equal(decode_image(path), np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.fault("E3")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>Not found</html>", "not an image .it is a web page"),
        (b"\x80\x04pickle", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (encoded(Image.fromarray(RGB), "JPEG2000"), "not an image .*convert it to one of JPEG"),
        (encoded(Image.fromarray(RGB))[:-60], "damaged image"),
    ],
)
def test_what_is_no_whole_image_is_named(tmp_path, content, message):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(BadImageError, match=rf"photo.jpg: {message}"):
        decode_image(path)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow on damaged metadata
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_a_file_cut_anywhere_is_refused_or_has_all_its_pixels(kind):
    data = encoded(Image.fromarray(RGB), kind)
    whole = decode_image(data)
    for length in range(len(data)):
        try:
            assert np.array_equal(decode_image(data[:length]), whole), length
        except BadImageError:
            pass


@pytest.mark.fault("E1")
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.99])
def test_truncated_jpegs_are_never_filled_up(imagenet_jpegs, kept):
    whole = imagenet_jpegs[0].read_bytes()
    with pytest.raises(BadImageError, match="n0.jpg: "):
        decode_image(whole[: int(kept * len(whole))], name="n0.jpg")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow on damaged metadata
def test_random_damage_ends_in_pixels_or_in_our_error(imagenet_jpegs):
    whole = bytearray(imagenet_jpegs[3].read_bytes())
    generator = np.random.default_rng(0)
    for _ in range(25):
        damaged = bytearray(whole)
        for place in generator.integers(0, min(len(damaged), 800), 4):
            damaged[place] = generator.integers(256)
        try:
            assert decode_image(bytes(damaged)).dtype == np.uint8
        except BadImageError:
            pass


def test_missing_files_and_folders_are_named(tmp_path):
    for path in (tmp_path, tmp_path / "none.png"):
        with pytest.raises(BadImageError, match=f"{path.name}: cannot be read"):
            decode_image(path)


@pytest.mark.fault("E4")
def test_large_images_are_refused_from_their_header(tmp_path):
    bomb = bytearray(encoded(Image.new("L", (16, 16))))
    bomb[16:24] = struct.pack(">II", 9000, 9000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bytes(bomb[12:29])))
    with pytest.raises(BadImageError, match="9000 x 9000 pixels are more than the 50,000,000"):
        decode_image(bytes(bomb), name="bomb.png")
    for side in (12_000, 60_000):  # where Pillow warns, and where it refuses by itself
        bomb[16:24] = struct.pack(">II", side, side)
        bomb[29:33] = struct.pack(">I", zlib.crc32(bytes(bomb[12:29])))
        with pytest.raises(BadImageError, match=r"bomb.png: .*scale"):
            decode_image(bytes(bomb), name="bomb.png")


@pytest.mark.fault("E3")
def test_pixels_without_a_defined_range_are_refused():
    for dtype in (np.float32, np.int32):
        data = encoded(Image.fromarray(np.full((3, 3), 70_000, dtype)), "TIFF")
        with pytest.raises(BadImageError, match="no defined range; save it"):
            decode_image(data, name=str(Path("scan.tif")))
