"""The size of a picture, read from the header of each format, and nothing read that is not needed."""

from __future__ import annotations

import base64
import struct
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.image_size import pixel_size


def png(width: int, height: int) -> bytes:
    """Return the beginning of a PNG."""
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + b"\x08\x06\x00\x00\x00"


def gif(width: int, height: int) -> bytes:
    """Return the beginning of a GIF."""
    return b"GIF89a" + struct.pack("<HH", width, height) + bytes(20)


def webp(kind: bytes, rest: bytes) -> bytes:
    """Return the beginning of a WebP whose first chunk is of this kind."""
    return b"RIFF" + bytes(4) + b"WEBP" + kind + struct.pack("<I", len(rest)) + rest + bytes(12)


def webp_lossy(width: int, height: int) -> bytes:
    """Return a key frame of VP8: tag, start code, width and height with their scales in the upper two bits."""
    return webp(b"VP8 ", b"\x30\x01\x00\x9d\x01\x2a" + struct.pack("<HH", width | 0x4000, height | 0x8000))


def webp_lossless(width: int, height: int) -> bytes:
    """Return a lossless image: signature, then 14 bits each, less one."""
    return webp(b"VP8L", b"\x2f" + struct.pack("<I", width - 1 | (height - 1) << 14 | 1 << 28))


def webp_extended(width: int, height: int) -> bytes:
    """Return the extended form: flags, then 24 bits each, less one."""
    return webp(b"VP8X", bytes(4) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3])


def jpeg(width: int, height: int, *, frame: int = 0xC0, metadata_bytes: int = 60_000) -> bytes:
    """Return a JPEG with a preview and a colour profile before its frame, as cameras write them."""
    preview = b"\xff\xe1" + struct.pack(">H", metadata_bytes + 2) + jpeg_frame(160, 120) * (metadata_bytes // 19)
    preview = preview[: metadata_bytes + 4].ljust(metadata_bytes + 4, b"\0")
    tables = b"\xff\xc4" + struct.pack(">H", 5) + b"\0\0\0" + b"\xff\xff\xff\xdb" + struct.pack(">H", 4) + b"\0\0"
    return b"\xff\xd8" + preview + tables + jpeg_frame(width, height, frame) + bytes(1000)


def jpeg_frame(width: int, height: int, frame: int = 0xC0) -> bytes:
    """Return a frame header."""
    return bytes((0xFF, frame)) + struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes(9)


def encoded(data: bytes) -> str:
    """Return base64."""
    return base64.b64encode(data).decode()


Make = Callable[[int, int], bytes]
FORMATS: list[Make] = [png, gif, webp_lossy, webp_lossless, webp_extended, jpeg]


@pytest.mark.parametrize("make", FORMATS)
@pytest.mark.parametrize("size", [(1, 1), (640, 480), (1024, 2047), (12_000, 9_000)])
def test_reads_width_and_height(make: Make, size: tuple[int, int]) -> None:
    """In each format, with or without a data URL before it."""
    text = encoded(make(*size))

    assert size == pixel_size(text)
    assert size == pixel_size("data:image/x;base64," + text, len("data:image/x;base64,"))


@pytest.mark.parametrize("metadata_bytes", range(60, 66))
@pytest.mark.parametrize("frame", [0xC0, 0xC1, 0xC2, 0xCF])
def test_a_jpeg_says_its_size_wherever_its_frame_begins(frame: int, metadata_bytes: int) -> None:
    """Baseline and progressive; a base64 group may be cut anywhere, and the preview inside is not the picture."""
    assert (800, 600) == pixel_size(encoded(jpeg(800, 600, frame=frame, metadata_bytes=metadata_bytes)))


@pytest.mark.parametrize(
    "data",
    [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF....WEBPVP8?" + bytes(20), b"\xff\xd8\xff", b"<svg/>", png(0, 5)],
)
def test_says_nothing_when_the_header_does_not(data: bytes) -> None:
    """Cut off, of another kind, without an area."""
    assert pixel_size(encoded(data)) is None


def test_a_jpeg_of_segments_without_end_is_given_up() -> None:
    """The search is bounded: a thousand empty segments cost what the first 64 do."""
    assert pixel_size(encoded(b"\xff\xd8" + b"\xff\xe1\x00\x02" * 1000 + jpeg_frame(5, 5))) is None
    assert pixel_size(encoded(b"\xff\xd8" + b"\xff" * 1000 + jpeg_frame(5, 5))) is None


@given(st.text(max_size=200), st.integers(0, 250))
def test_never_raises(text: str, start: int) -> None:
    """Whatever the text is."""
    pixel_size(text, start)


@given(st.sampled_from(FORMATS), st.integers(0, 80), st.binary(max_size=80))
def test_never_raises_on_a_damaged_header(make: Make, cut: int, rest: bytes) -> None:
    """A header that is cut off and goes on with anything."""
    pixel_size(encoded(make(640, 480)[:cut] + rest))


def test_a_large_picture_costs_no_more_than_a_small_one() -> None:
    """Twenty megabytes are not decoded: a thousand calls take less than decoding them once or twice."""
    text = encoded(jpeg(4000, 3000)) + "A" * 20_000_000
    started = time.process_time()
    for _ in range(1000):
        pixel_size(text)

    assert time.process_time() - started < 0.5
