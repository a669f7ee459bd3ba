"""Pictures of a screen, as monitors write them."""

import struct
import zlib
from pathlib import Path

from client import Failed


def read_png(path):
    """Width, height, and rows of bytes, three a pixel."""
    data = Path(path).read_bytes()
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise Failed(f"{path} is no PNG: {data[:8]!r}")
    at, chunks = 8, {}
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + size]
        if zlib.crc32(kind + body) != struct.unpack(">I", data[at + 8 + size:at + 12 + size])[0]:
            raise Failed(f"{path}: the sum of {kind} is wrong")
        chunks[kind] = body
        at += size + 12
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    pixels = zlib.decompress(chunks[b"IDAT"])
    return width, height, [pixels[y * (width * 3 + 1) + 1:(y + 1) * (width * 3 + 1)] for y in range(height)]


def read_ppm(path):
    header, size, _, pixels = Path(path).read_bytes().split(b"\n", 3)
    width, height = map(int, size.split())
    if header != b"P6" or len(pixels) != 3 * width * height:
        raise Failed(f"{path} is no picture")
    return width, height, [pixels[y * width * 3:(y + 1) * width * 3] for y in range(height)]
