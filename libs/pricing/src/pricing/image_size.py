"""Width and height of a picture, read from the header inside its base64 text."""

from __future__ import annotations

import binascii

# The header of PNG, GIF and WebP; a JPEG has segments of any length before its size.
_HEADER_BYTES = 30
_MAX_JPEG_SEGMENTS = 64
# Markers C0 to CF begin a frame, except those of tables (C4, CC) and a reserved one (C8).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})


def pixel_size(text: str, start: int = 0) -> tuple[int, int] | None:
    """Return width and height of the picture whose base64 begins at `start` of `text`; None when it does not say.

    Only the bytes that are looked at are decoded, however large the picture is.
    """
    header = _bytes_at(text, start, 0, _HEADER_BYTES)
    if header.startswith(b"\x89PNG\r\n\x1a\n"):
        size = _big(header, 16, 4), _big(header, 20, 4)
    elif header.startswith((b"GIF87a", b"GIF89a")):
        size = _little(header, 6, 2), _little(header, 8, 2)
    elif header.startswith(b"RIFF") and header[8:12] == b"WEBP":
        size = _webp_size(header)
    elif header.startswith(b"\xff\xd8"):
        size = _jpeg_size(text, start)
    else:
        return None
    return size if all(size) else None


def _webp_size(header: bytes) -> tuple[int, int]:
    match header[12:16]:
        case b"VP8 ":
            return _little(header, 26, 2) & 0x3FFF, _little(header, 28, 2) & 0x3FFF
        case b"VP8L":
            bits = _little(header, 21, 4)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            return _little(header, 24, 3) + 1, _little(header, 27, 3) + 1
    return 0, 0


def _jpeg_size(text: str, start: int) -> tuple[int, int]:
    """Go from segment to segment up to the one that begins the frame."""
    offset = 2
    for _ in range(_MAX_JPEG_SEGMENTS):
        segment = _bytes_at(text, start, offset, 9)
        if len(segment) < 9 or segment[0] != 0xFF:
            break
        marker = segment[1]
        if marker in _JPEG_FRAMES:
            return _big(segment, 7, 2), _big(segment, 5, 2)
        if marker == 0xFF:  # padding before a marker
            offset += 1
        elif marker in _JPEG_WITHOUT_LENGTH:
            offset += 2
        else:
            offset += 2 + _big(segment, 2, 2)
    return 0, 0


def _bytes_at(text: str, start: int, offset: int, count: int) -> bytes:
    """Decode `count` bytes at `offset`; fewer when the text ends or is not plain base64."""
    first = start + offset // 3 * 4
    skipped = offset % 3
    characters = -(-(skipped + count) // 3) * 4
    try:
        decoded = binascii.a2b_base64(text[first : first + characters])
    except ValueError:  # not padded, or not ASCII
        return b""
    return decoded[skipped : skipped + count]


def _big(data: bytes, offset: int, count: int) -> int:
    return int.from_bytes(data[offset : offset + count], "big")


def _little(data: bytes, offset: int, count: int) -> int:
    return int.from_bytes(data[offset : offset + count], "little")
