"""Pixels of more than 8 bits: the range is that of the whole set, or the images are refused."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from stt_bench.benchmark.config.sections import InputConfig
from stt_bench.benchmark.datasets.depth import bits_that_hold, depth_of
from stt_bench.benchmark.datasets.image_set import ImageSet
from stt_bench.benchmark.datasets.loose import loose_images
from stt_bench.benchmark.datasets.prepared_copy import prepare_copy
from stt_bench.benchmark.datasets.transforms import to_channels
from stt_bench.benchmark.datasets.verify import verify_dataset
from stt_bench.benchmark.system.errors import BenchError

SIDE = 8


def values(top: int, seed: int, low: int = 0) -> np.ndarray:
    """Return an image of integers from low to top, both of which occur."""
    pixels = np.random.default_rng(seed).integers(low, top + 1, (SIDE, SIDE))
    pixels[0, 0], pixels[0, 1] = low, top
    return pixels


def png16(pixels: np.ndarray) -> bytes:
    """Return an RGB PNG of 16 bits a channel, which Pillow cannot write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.fixture
def folder(tmp_path):
    """Return a function that saves arrays as the images of classes a and b, and gives the root."""

    def save(images: list[np.ndarray], suffix: str):
        for number, pixels in enumerate(images):
            file = tmp_path / "in" / "ab"[number % 2] / f"{number}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
        return tmp_path / "in"

    return save


def pixels_of(items) -> dict[str, np.ndarray]:
    """Return what the network would see, by the number in the file's name."""
    seen = {}
    config = InputConfig(size=SIDE, channels=1)
    for split in ("train", "test"):
        images = ImageSet(items, items.split(split), config)
        for row, path in enumerate(images.paths):
            seen[path.split("/")[1].split(".")[0]] = images.batch(np.array([row])).numpy()[0, 0]
    return seen


@pytest.mark.parametrize(
    ("kind", "suffix", "top", "bits"),
    [
        (np.int32, "tif", 255, 8),  # black until now
        (np.uint16, "png", 4095, 12),  # 16 levels until now
        (np.uint16, "tif", 1000, 10),
        (np.uint16, "png", 16383, 14),
        (np.uint16, "png", 65535, 16),
        (np.int32, "tif", 40000, 16),
        (np.uint16, "png", 200, 8),
    ],
)
def test_the_range_is_that_of_the_whole_set(load, folder, kind, suffix, top, bits):
    dark = [values(max(1, top // 60), seed).astype(kind) for seed in range(3)]
    images = [*dark, values(top, 3).astype(kind)]
    items = load("images", folder(images, suffix), "classification")
    assert items.bits == bits
    told = f"grey values of more than 8 bits: 0 to {2**bits - 1:,} is taken for black to white"
    assert items.notes == (told,)
    lines = list(verify_dataset("images", root=str(folder([], suffix))).lines())
    assert lines[1] == f"note: {told}"
    seen = pixels_of(items)
    for number, image in enumerate(images):
        np.testing.assert_array_equal(seen[str(number)], image // 2 ** (bits - 8))


def test_8_bit_images_have_no_such_range(load, folder):
    items = load(
        "images",
        folder([values(255, seed).astype(np.uint8) for seed in range(4)], "png"),
        "classification",
    )
    assert items.bits is None


@pytest.mark.parametrize(
    ("low", "top", "kind"), [(-1, 255, np.int32), (0, 65536, np.int32), (0, 1, np.float32)]
)
def test_unknown_ranges_are_refused_before_training(load, folder, low, top, kind):
    images = [values(200, seed).astype(np.int32) for seed in range(3)]
    root = folder([*images, values(top, 3, low).astype(kind)], "tif")
    match = rf"image b/3.tif: .*(between {low} and {top}|float pixels).*save it with 8 bits"
    with pytest.raises(BenchError, match=match):
        load("images", root, "classification")
    found = verify_dataset("images", root=str(root))
    assert not found.passed
    assert any("b/3.tif" in line for line in found.lines())
    assert list(found.lines())[-1] == "4 images decoded, all can be read but not used"


@pytest.mark.parametrize(
    ("tags", "told"),
    [({262: 0}, "0 is white in it"), ({339: 2}, "8-bit pixels with a sign")],
)
def test_tiff_pixels_that_pillow_reads_wrongly_are_refused(load, tmp_path, tags, told):
    kind = np.uint16 if 262 in tags else np.uint8
    for number in range(4):
        file = tmp_path / "ab"[number % 2] / f"{number}.tif"
        file.parent.mkdir(exist_ok=True)
        content = io.BytesIO()
        Image.fromarray(values(200, number).astype(kind)).save(content, "TIFF", tiffinfo={339: 1})
        changed = bytearray(content.getvalue())
        for tag, value in tags.items():  # an entry is tag, type 3 (short), count 1, value
            entry = changed.index(struct.pack("<HHI", tag, 3, 1))
            changed[entry + 8 : entry + 10] = struct.pack("<H", value)
        file.write_bytes(changed)
    with pytest.raises(BenchError, match=f"image .*0.tif: {told}"):
        load("images", tmp_path, "classification")


@pytest.mark.parametrize(("top", "bits"), [(4095, 12), (1023, 10), (16383, 14), (65535, None)])
def test_colour_of_16_bits_keeps_8_good_ones_or_is_refused(load, tmp_path, top, bits):
    images = [np.stack([values(top, 3 * n + c) for c in range(3)], -1) for n in range(4)]
    for number, pixels in enumerate(images):
        file = tmp_path / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(png16(pixels))
    if bits is not None:
        told = f"the 4 images with 16 bits a channel hold no more than {bits} bits"
        with pytest.raises(BenchError, match=told):
            load("images", tmp_path, "classification")
        return
    items = load("images", tmp_path, "classification")
    assert items.bits is None
    for number, pixels in enumerate(images):
        path = f"{'ab'[number % 2]}/{number}.png"
        np.testing.assert_array_equal(np.asarray(to_channels(items.read(path), 3)), pixels // 256)


@pytest.mark.parametrize(
    ("suffix", "modes"),
    [
        ("tiff", "1 L LA P RGB RGBA CMYK YCbCr LAB"),
        ("png", "1 L LA P RGB RGBA"),
        ("jpeg", "L RGB CMYK YCbCr"),
        ("gif", "L P RGB"),
        ("webp", "L RGB RGBA"),
        ("bmp", "1 L P RGB RGBA"),
        ("ppm", "1 L RGB"),
    ],
)
def test_formats_of_8_bits_have_no_depth(suffix, modes):
    for mode in modes.split():
        content = io.BytesIO()
        Image.new("RGB", (5, 4), (9, 99, 199)).convert(mode).save(content, suffix)
        assert depth_of(content.getvalue()) is None, mode


def test_broken_contents_have_no_depth():
    for content in (b"", b"II*\0", b"\x89PNG\r\n\x1a\n" + bytes(16) + b"\x10"):
        assert depth_of(content) is None


@pytest.mark.parametrize(("high", "bits"), [(0, 8), (255, 8), (256, 10), (1023, 10), (1024, 12)])
def test_bits_that_hold(high, bits):
    assert bits_that_hold(high) == bits


def test_a_copy_keeps_the_range_of_the_set(load, folder, tmp_path):
    images = [values(top, seed).astype(np.uint16) for seed, top in enumerate((60, 60, 60, 4000))]
    root = folder(images, "png")
    large = values(4000, 9).astype(np.uint16).repeat(4, 0).repeat(4, 1)
    Image.fromarray(large).save(root / "a" / "4.png")
    prepare_copy("images", 16, root=str(root), to=tmp_path / "out")
    copy = load("images", tmp_path / "out", "classification")
    assert copy.bits is None
    seen = pixels_of(copy)
    for number, image in enumerate(images):
        np.testing.assert_array_equal(seen[str(number)], image // 16)


def test_loose_images_beyond_the_range_of_the_training_are_refused(folder):
    items = loose_images(folder([values(4095, 0).astype(np.uint16)], "png"))
    assert items.bits == 12
    with pytest.raises(BenchError, match=r"between 0 and 4095, beyond the 0 to 1023 that 10 bits"):
        to_channels(items.read("a/0.png"), 1, 10)


@pytest.mark.parametrize("mode", ["PA", "HSV", "LAB", "La", "RGBa", "RGBX"])
def test_rare_modes_become_what_pillow_says_of_their_colours(mode):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8))
    image = photo.convert({"PA": "P", "La": "LA", "RGBa": "RGBA"}.get(mode, mode)).convert(mode)
    way = {"PA": "RGBA", "La": "LA", "RGBa": "RGBA"}.get(mode, mode)
    expected = image.convert(way).convert("RGB")
    np.testing.assert_array_equal(np.asarray(to_channels(image, 3)), np.asarray(expected))
    grey = np.asarray(to_channels(image, 1)).astype(int)
    assert np.abs(grey - np.asarray(expected.convert("L"))).max() <= 1


def test_lab_has_the_colours_that_it_was_made_of():
    photo = Image.fromarray(np.random.default_rng(0).integers(60, 190, (5, 6, 3), np.uint8))
    there_and_back = np.asarray(to_channels(photo.convert("LAB"), 3)).astype(int)
    assert np.abs(there_and_back - np.asarray(photo)).mean() < 3  # 8 bits of L, a and b
