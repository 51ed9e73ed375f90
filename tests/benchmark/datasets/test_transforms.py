import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms import functional as tv

from stt_bench.benchmark.config.sections import InputConfig
from stt_bench.benchmark.datasets.transforms import (
    center_crop,
    prepare,
    to_channels,
)
from stt_bench.benchmark.system.errors import BenchError


def photo(width=37, height=23, seed=0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


@pytest.mark.parametrize("size", [(37, 23), (23, 37), (40, 40), (300, 201)])
@pytest.mark.parametrize("side", [16, 23, 61])
@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_is_torchvisions(size, side, channels):
    image = photo(*size)
    mode = "L" if channels == 1 else "RGB"
    expected = tv.pil_to_tensor(tv.resize(image.convert(mode), side))
    kept = prepare(image, InputConfig(size=8, resize=side, channels=channels))
    assert kept.dtype == torch.uint8
    assert torch.equal(kept, expected)
    expected = tv.pil_to_tensor(tv.resize(image.convert(mode), [side, side]))
    config = InputConfig(size=8, resize=side, aspect="squash", channels=channels)
    assert torch.equal(prepare(image, config), expected)


@pytest.mark.parametrize("size", [(1, 8000), (8000, 1), (2, 100_000)])
def test_long_thin_images_are_refused_before_they_take_the_memory(size):
    image = Image.new("RGB", size)
    with pytest.raises(BenchError, match=rf"it is {size[0]} × {size[1]} pixels and would become"):
        prepare(image, InputConfig(size=224))
    assert prepare(image, InputConfig(size=224, aspect="squash")).shape == (3, 224, 224)


@pytest.mark.parametrize("size", [(32, 4000), (3000, 7), (1, 600), (1, 8)])
def test_long_images_of_bearable_size_are_taken(size):
    assert prepare(Image.new("L", size), InputConfig(size=32, channels=1)).min() == 0


def test_large_inputs_are_taken():
    assert prepare(Image.new("L", (2, 3)), InputConfig(size=6000, channels=1)).shape[1] == 9000


def test_size_is_the_side_without_resize():
    assert prepare(photo(40, 30), InputConfig(size=15)).shape == (3, 15, 20)


@pytest.mark.parametrize("shape", [(23, 37), (24, 37), (24, 24), (25, 16)])
@pytest.mark.parametrize("size", [7, 8, 16])
def test_center_crop_is_torchvisions(shape, size):
    image = torch.randint(0, 256, (3, *shape), dtype=torch.uint8)
    assert torch.equal(center_crop(image, size), tv.center_crop(image, [size, size]))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_modes_convert_as_pil_does(mode):
    image = photo().convert(mode)
    for channels, target in ((1, "L"), (3, "RGB")):
        converted = to_channels(image, channels)
        assert converted.mode == target
        np.testing.assert_array_equal(array(converted), array(image.convert(target)))


def test_hsv_to_grey_goes_by_rgb():
    image = photo().convert("HSV")
    np.testing.assert_array_equal(
        array(to_channels(image, 1)), array(image.convert("RGB").convert("L"))
    )


@pytest.mark.filterwarnings("error")
def test_a_transparent_palette_converts_without_warning(tmp_path):
    image = photo().quantize(8)
    image.info["transparency"] = bytes([0, 128, 255])
    expected = array(image.convert("RGBA"))[..., :3]
    np.testing.assert_array_equal(array(to_channels(image, 3)), expected)


def test_one_channel_is_repeated():
    pixels = prepare(photo().convert("L"), InputConfig(size=16, channels=3))
    assert torch.equal(pixels[0], pixels[1])
    assert torch.equal(pixels[0], pixels[2])


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_keep_the_upper_8(tmp_path, suffix):
    deep = np.random.default_rng(0).integers(0, 65536, (5, 6)).astype(np.uint16)
    file = tmp_path / f"x.{suffix}"
    Image.fromarray(deep).save(file)
    with Image.open(file) as image:
        assert image.mode.startswith("I")
        np.testing.assert_array_equal(array(to_channels(image, 1)), deep // 256)
        np.testing.assert_array_equal(array(to_channels(image, 3))[..., 2], deep // 256)
    as_32_bits = Image.fromarray(deep.astype(np.int32))
    assert as_32_bits.mode == "I"
    np.testing.assert_array_equal(array(to_channels(as_32_bits, 1)), deep // 256)


def test_float_images_are_refused():
    with pytest.raises(BenchError, match="32-bit float pixels have no known range"):
        to_channels(Image.new("F", (2, 2)), 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_images_are_upright(tmp_path, save, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = save(tmp_path / f"x.{suffix}", (30, 20), exif=exif)
    with Image.open(file) as image:
        expected = ImageOps.exif_transpose(image).convert("RGB")
        turned = to_channels(image, 3)
    assert turned.size == ((20, 30) if orientation >= 5 else (30, 20))
    np.testing.assert_array_equal(array(turned), array(expected))
