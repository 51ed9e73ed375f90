"""A copy of a dataset with smaller images, in the layout of the original."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from stt_bench.benchmark.config.sections import InputConfig, Task
from stt_bench.benchmark.datasets.catalog import find_dataset
from stt_bench.benchmark.datasets.depth import is_deep
from stt_bench.benchmark.datasets.items import find_root, hash_items
from stt_bench.benchmark.datasets.stores import Contents, FileStore
from stt_bench.benchmark.datasets.suffixes import is_image
from stt_bench.benchmark.datasets.threads import Progress
from stt_bench.benchmark.datasets.transforms import resized_size, to_channels
from stt_bench.benchmark.datasets.verify import Tables, failures, read_tables
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.files import read_json, write_atomically, write_json

MARKER = "prepared.json"
SMALLEST = 16  # pixels
_LARGEST_OTHER = 64 << 20  # bytes of a file that is no image and still copied
_LOSSY = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
    "AVIF": {"quality": 95},
}
_LOSSLESS = ("BMP", "GIF", "JPEG2000", "PCX", "PNG", "PPM", "SGI", "TGA", "TIFF")


@dataclass(frozen=True)
class PreparedCopy:
    """What `prepare_copy` made."""

    root: Path  # what `data.root` has to say: the folder of the copy, or the csv list in it
    images: int
    were_there: int
    left_out: int  # images that no table lists, and very large other files
    hashes: dict[Task, str]


def prepare_copy(
    name: str,
    size: int,
    *,
    root: str | None = None,
    to: Path | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> PreparedCopy:
    """Copy a dataset of image files with the shorter side of its images reduced to `size` pixels.

    Larger images are converted and resized as for an input of that size and saved upright in their
    own format, if Pillow writes it (JPEG, WebP and AVIF with quality 95). Grey images of more than
    8 bits become ones of 8, with the range of the whole set. All others are copied byte for byte,
    as are all files below `root` that are no images. Images that no task's table lists are left out
    (of a test clip, the frames that are not sampled).

    The copy is used through `data.root`. A table with `resize: SIZE` finds nothing left to resize
    and sees the pixels of the original, up to the loss of JPEG and WebP (on CUB-50 at 128 pixels
    about 1 level of 255). No table must have that `resize`: with a lower one the images are
    resized again, with a higher one they are enlarged.

    A run on the copy never passes for one on the original: the contents of the files enter the
    data hash, and with it the protocol. Where no image was resized, both are the same.

    A call that was stopped is continued by the same call: what is there is not written again,
    unless its original has changed since.

    Args:
        name: the dataset; one in an array or a zip file needs no copy.
        size: shorter side in pixels, 16 or more.
        root: folder of the data, or a csv list; searched for when not given. Of a csv list only
            what it lists is copied.
        to: folder of the copy, ``data/NAME-SIZE`` when not given.
        options: the dataset's own options.
        progress: called with the images done and all that are to be done.

    Raises:
        BenchError: wrong input, an incomplete dataset, or images that cannot be read; the copy
            then holds all others.
    """
    if size < SMALLEST:
        raise BenchError(f"--size {size}: give the shorter side in pixels, {SMALLEST} or more")
    dataset, options = find_dataset(name), dict(options or {})
    start = find_root(dataset, root, download=False)
    tables = read_tables(dataset, start, options)
    if tables.problem is not None:
        raise BenchError(tables.problem)
    if not all(isinstance(source.store, FileStore) for source in tables.sources.values()):
        raise BenchError(f"dataset '{name}' is not made of image files: it needs no preparation")
    if start is None:
        raise BenchError(f"dataset '{name}': name the folder or the csv list to copy with --root")
    base, csv_list = (start, None) if start.is_dir() else (start.parent, start)
    folder = to if to is not None else Path("data") / f"{name}-{size}"
    _check_target(folder, base, csv_list)
    images = _image_files(tables, base)
    origin = {"dataset": name, "options": options, "shorter_side": size}
    contents = _contents(tables)
    _mark(folder, origin, _originals(tables, contents, images))
    left_out = 0
    if csv_list is None:
        left_out = _copy_others(base, folder, images)
    else:
        _copy(csv_list, folder / csv_list.name)
    missing = [path for path in images if not (folder / path).exists()]
    bits = max((one.bits or 0 for one in contents.values()), default=0)
    broken = failures(
        lambda path: _write_small(images[path], folder / path, size, bits), missing, progress
    )
    if broken:
        raise BenchError(
            f"{len(broken)} of {len(images)} images could not be prepared, the first: {broken[0]}; "
            f"`stt-bench data verify {name}` names them all, the others are in {folder}"
        )
    copy = folder if csv_list is None else folder / csv_list.name
    copied = read_tables(dataset, copy, options)
    if _listed(copied) != _listed(tables):
        how_to_fix = copied.problem or "remove the copy and make it again"
        raise BenchError(f"the copy in {folder} lists other images than {start}: {how_to_fix}")
    _image_files(copied, folder)
    return PreparedCopy(copy, len(images), len(images) - len(missing), left_out, _hashes(copied))


def _check_target(folder: Path, base: Path, csv_list: Path | None) -> None:
    """Refuse to write over the originals; only of a whole folder may no part hold the copy."""
    inner, outer = folder.resolve(), base.resolve()
    apart = inner != outer
    if csv_list is None:
        apart = not (inner.is_relative_to(outer) or outer.is_relative_to(inner))
    if not apart:
        raise BenchError(
            f"the copy cannot be made in {folder}, the data are in {base}: name a folder outside "
            "of it with --to"
        )


def _mark(folder: Path, origin: dict[str, Any], contents: dict[str, str]) -> None:
    """Say in the copy what it is made of; refuse a folder that is something else.

    Images whose originals have changed since are removed, to be made again.
    """
    file = folder / MARKER
    marker = {**origin, "made_from": contents}
    if not file.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise BenchError(
                f"{folder} exists and is no prepared copy: name another folder with --to"
            )
    elif (before := read_json(file)) == marker:
        return
    else:
        made = before.pop("made_from", None) if isinstance(before, dict) else None
        if before != origin or not isinstance(made, dict) or set(made) != set(contents):
            raise BenchError(
                f"{folder} is a copy of other data or of another size, see {file}: remove it or "
                "name another folder with --to"
            )
        for path, content in contents.items():
            if made[path] != content:
                (folder / path).unlink(missing_ok=True)
    write_json(file, marker)


def _contents(tables: Tables) -> dict[Task, Contents]:
    return {
        task: store.contents(frame["path"].tolist())
        for task, (frame, store, _) in tables.sources.items()
    }


def _originals(
    tables: Tables, contents: Mapping[Task, Contents], images: Mapping[str, str]
) -> dict[str, str]:
    """Return the sha256 of each image's original by its path in the copy."""
    known: dict[str, str] = {}
    for task, (frame, store, _) in tables.sources.items():
        assert isinstance(store, FileStore)
        for path, sha256 in zip(frame["path"], contents[task].identity, strict=True):
            known[os.path.abspath(os.path.join(store.root, path))] = sha256.hex()
    return {path: known[file] for path, file in images.items()}


def _hashes(tables: Tables) -> dict[Task, str]:
    return {
        task: hash_items(tables.sources[task].frame, one.identity)
        for task, one in _contents(tables).items()
    }


def _listed(tables: Tables) -> dict[Task, Any]:
    return {task: frame.to_dict("list") for task, (frame, _, _) in tables.sources.items()}


def _image_files(tables: Tables, start: Path) -> dict[str, str]:
    """Return the file of each listed image by its path below `start`."""
    files: dict[str, str] = {}
    base = os.path.abspath(start)
    for frame, store, _ in tables.sources.values():
        assert isinstance(store, FileStore)
        for path in frame["path"]:
            file = os.path.abspath(os.path.join(store.root, path))
            below = os.path.relpath(file, base)
            if below.startswith(os.pardir):
                raise BenchError(
                    f"{file} is not below {start}: a copy needs all images there, and lists with "
                    "relative paths"
                )
            files[below] = file
    return files


def _copy_others(start: Path, folder: Path, images: Mapping[str, str]) -> int:
    """Copy all files that are no images; return how many are left out."""
    left_out = 0
    for where, folders, names in os.walk(start, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            file = Path(where, name)
            target = folder / file.relative_to(start)
            if name.startswith(".") or str(file.relative_to(start)) in images or target.exists():
                continue
            if is_image(name) or file.stat().st_size > _LARGEST_OTHER:
                left_out += 1
            else:
                _copy(file, target)
    return left_out


def _copy(file: Path, target: Path) -> None:
    content = file.read_bytes()
    write_atomically(target, lambda stream: stream.write(content))


def _write_small(file: str, target: Path, size: int, bits: int) -> None:
    image = FileStore(Path()).read(file)
    form = "JPEG" if image.format == "MPO" else str(image.format)
    large = min(image.size) > size and form in (*_LOSSY, *_LOSSLESS)
    if not (large or is_deep(image)):
        _copy(Path(file), target)
        return
    content = io.BytesIO()
    try:
        grey = image.mode in ("1", "L", "LA") or is_deep(image)
        small = to_channels(image, 1 if grey else 3, bits or None)
        if large:
            small = small.resize(
                resized_size(*small.size, InputConfig(size=size)), Image.Resampling.BILINEAR
            )
        small.save(content, form, **_LOSSY.get(form, {}))
    except Exception as error:  # PIL raises nearly anything on odd modes and formats
        raise BenchError(f"{file} cannot be resized ({error}): replace or remove it") from error
    write_atomically(target, lambda stream: stream.write(content.getbuffer()))
