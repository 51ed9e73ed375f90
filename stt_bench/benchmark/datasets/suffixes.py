"""By which suffixes image files are known: those of all formats that Pillow decodes by itself."""

from __future__ import annotations

import os
from functools import cache

# Read by another program (Ghostscript), by a handler that Pillow does not have, or not pictures.
_NOT_DECODED = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
_USUAL = ".jpg, .jpeg, .png, .webp, .tif, .bmp, .gif, .ppm"


@cache
def image_suffixes() -> frozenset[str]:
    """Return the suffixes of images, in lower case and with their dots."""
    from PIL import Image

    Image.init()
    suffixes = {
        suffix
        for suffix, form in Image.registered_extensions().items()
        if (form in Image.OPEN or form == "MPO") and form not in _NOT_DECODED
    }
    return frozenset(suffixes)


def is_image(name: str) -> bool:
    """Tell by its name whether a file is an image; hidden ones are not."""
    return os.path.splitext(name)[1].lower() in image_suffixes() and not name.startswith(".")


def suffixes_in_words() -> str:
    """Return the usual suffixes, and how many more there are."""
    return f"{_USUAL} and {len(image_suffixes()) - _USUAL.count('.')} more that Pillow reads"
