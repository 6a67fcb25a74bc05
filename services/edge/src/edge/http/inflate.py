"""Bodies that come compressed: unpacked piece by piece, so that a few bytes never become gigabytes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from edge.problems import Problem

STEP_BYTES = 256 * 1024
"""At most so much is unpacked at once; it takes about a millisecond."""
# What text compresses to is far from it; only repetition for its own sake comes near the 1032 that deflate can do.
# Apache's mod_deflate draws the same line (`DeflateInflateRatioLimit`).
_MAX_RATIO = 200
_UNMEASURED_BYTES = 1024 * 1024
_ENCODINGS = "gzip, deflate"
_MAX_QUOTED = 40
_GZIP, _ZLIB, _RAW = 31, 15, -15  # the `wbits` of zlib


def inflation_of(content_encoding: str) -> Inflation | None:
    """Return what unpacks a body with this `Content-Encoding`; None: it comes as it is. Problem (415) for another."""
    name = content_encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name in ("gzip", "x-gzip"):
        return Inflation("gzip", zlib.decompressobj(_GZIP))
    if name == "deflate":
        return Inflation("deflate", None)
    raise Problem(
        "unsupported_encoding",
        f"the content-encoding {name[:_MAX_QUOTED]!r} is not understood here: send gzip, deflate, or the body as it is",
        headers={"accept-encoding": _ENCODINGS},
    )


class Inflation:
    """Unpacks one body."""

    def __init__(self, name: str, unpacker: zlib._Decompress | None) -> None:
        """Without an unpacker the first byte decides: `deflate` is zlib's format, or, against RFC 9110, bare."""
        self._name = name
        self._unpacker = unpacker
        self._packed = 0
        self._unpacked = 0

    def take(self, packed: bytes) -> Iterator[bytes]:
        """Yield what comes of some more bytes, in pieces of at most `STEP_BYTES`.

        Problem (400) when they are not what the encoding says, (413) when they become far more than they are.
        """
        if not packed:
            return
        if self._unpacker is None:
            is_zlib = packed[0] & 0x0F == zlib.DEFLATED
            self._unpacker = zlib.decompressobj(_ZLIB if is_zlib else _RAW)
        self._packed += len(packed)
        is_full = False
        while packed or is_full:
            if self._unpacker.eof:
                raise Problem("invalid_request", f"the body goes on after the end of its {self._name}")
            try:
                piece = self._unpacker.decompress(packed, STEP_BYTES)
            except zlib.error as error:
                raise Problem(
                    "invalid_request", f"the body is not {self._name}, though its content-encoding says so"
                ) from error
            packed = self._unpacker.unconsumed_tail or self._unpacker.unused_data
            is_full = len(piece) == STEP_BYTES and not self._unpacker.eof
            self._measure(len(piece))
            if piece:
                yield piece

    def end(self) -> None:
        """Problem (400) when the body is not complete."""
        if self._packed and (self._unpacker is None or not self._unpacker.eof):
            raise Problem("invalid_request", f"the body ends before its {self._name} does")

    def _measure(self, count: int) -> None:
        self._unpacked += count
        if self._unpacked > max(_UNMEASURED_BYTES, _MAX_RATIO * self._packed):
            raise Problem("body_too_large", f"the body is packed more than {_MAX_RATIO}-fold; send it as it is")
