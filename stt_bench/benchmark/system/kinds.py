"""What a file is that was taken for another: by its first bytes, or else by the end of its name."""

from __future__ import annotations

import re
from pathlib import Path

_STARTS = {
    b"\x93NUMPY": "a NumPy array",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG\r\n\x1a\n": "a PNG image",
    b"GIF87a": "a GIF image",
    b"GIF89a": "a GIF image",
    b"II*\0": "a TIFF image",
    b"MM\0*": "a TIFF image",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"PAR1\x15": "a Parquet file",
    b"%PDF-": "a PDF document",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "a spreadsheet or document",
    b"SQLite format 3\0": "a database",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b\x08": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a rar archive",
    b"\xfd7zXZ\0": "an xz archive",
}
_ENDINGS = {  # of kinds that are text, or a zip archive within
    (".xlsx", ".xls", ".ods"): "a spreadsheet",
    (".npz",): "several NumPy arrays in one file",
    (".pt", ".pth"): "a file of PyTorch",
    (".yaml", ".yml"): "a YAML file",
    (".json", ".jsonl"): "a JSON file",
    (".xml",): "an XML file",
    (".html", ".htm"): "a page of HTML",
    (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"): "an archive",
    (".pkl", ".pickle"): "a pickle",
    (".mat",): "a MATLAB file",
}
_HOW = {
    "spreadsheet": "save it as csv; ",
    "archive": "unpack it; ",
    "array": "write its values a line each, numpy.savetxt('values.csv', array, fmt='%s'); ",
}
_WEBP = re.compile(rb"RIFF....WEBP", re.DOTALL)
_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_LOOKED_AT = 4096  # bytes


def kind_of(path: Path, start: bytes) -> str:
    """Return what a file is, with its article, that begins so; nothing where that is not known."""
    by_name = next((k for ends, k in _ENDINGS.items() if path.name.lower().endswith(ends)), "")
    by_bytes = next((kind for magic, kind in _STARTS.items() if start.startswith(magic)), "")
    if _WEBP.match(start):
        by_bytes = "a WebP image"
    return by_name if by_bytes in ("", "a zip archive") and by_name else by_bytes


def kind_in(path: Path) -> str:
    """Return what a file is, as `kind_of`; nothing where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return kind_of(path, stream.read(_LOOKED_AT))
    except OSError:
        return ""


def instead(path: Path) -> str:
    """Say what a file is that is not what its name says; nothing where that is not known."""
    kind = kind_in(path)
    own = {".parquet": "a Parquet file", ".h5": "an HDF5 file", ".hdf5": "an HDF5 file"}
    return f", it is {kind}" if kind and kind != own.get(path.suffix.lower()) else ""


def no_csv(path: Path, content: bytes) -> str:
    """Say what a file is that is no csv, and how it becomes one; nothing where it may be one."""
    kind = kind_of(path, content)
    if not kind:
        return ""
    how = next((how for word, how in _HOW.items() if word in kind), "")
    return f"is {kind}, not a csv: {how}"


def is_binary(content: bytes) -> bool:
    """Tell by its first bytes whether a file is no text of any encoding that has no null bytes."""
    return _NO_TEXT.search(content[:_LOOKED_AT]) is not None
