import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from recd.video.pixels import Padder, Scaler
from recd_client.errors import SchemaError

DTYPES = ["?", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8"]


def converted(values: NDArray[np.generic], low: float, high: float) -> NDArray[np.uint8]:
    """The values as bytes."""
    return Scaler(values.shape, values.dtype, (low, high))(values)


@pytest.mark.parametrize("dtype", DTYPES)
@given(bits=st.binary(min_size=64, max_size=64), low=st.integers(-1000, 1000), span=st.integers(1, 1000))
def test_values_become_the_nearest_byte_and_none_wraps(dtype: str, bits: bytes, low: int, span: int) -> None:
    """Whatever the numbers are, NaN and infinities among them, bytes follow clip(x - low) / (high - low)."""
    values = np.frombuffer(bits, "u1") > 127 if dtype == "?" else np.frombuffer(bits, dtype)
    with np.errstate(invalid="ignore"):
        exact = np.nan_to_num(values.astype(np.float64), nan=low, posinf=low + span, neginf=low)
    wanted = np.clip((exact - low) / span, 0, 1) * 255
    assert np.abs(converted(values, low, low + span) - wanted).max() <= 0.51


@pytest.mark.parametrize("dtype", DTYPES)
@given(bits=st.binary(min_size=64, max_size=64), low=st.integers(-1000, 1000), span=st.integers(1, 1000))
def test_values_become_the_nearest_of_65536_levels(dtype: str, bits: bytes, low: int, span: int) -> None:
    """The same for 16 bits: true to half a level, whatever the range and the dtype."""
    values = np.frombuffer(bits, "u1") > 127 if dtype == "?" else np.frombuffer(bits, dtype)
    with np.errstate(invalid="ignore"):
        exact = np.nan_to_num(values.astype(np.float64), nan=low, posinf=low + span, neginf=low)
    wanted = np.clip((exact - low) / span, 0, 1) * 65535
    levels = Scaler(values.shape, values.dtype, (low, low + span), np.uint16)(values)
    assert levels.dtype == np.uint16
    assert np.abs(levels - wanted).max() <= 0.5001


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_nan_is_low(dtype: str) -> None:
    """A hole in a depth image is black, not noise."""
    values = np.array([np.nan, -np.inf, np.inf, 0.5], dtype)
    assert converted(values, 0, 1).tolist() == [0, 0, 255, 128]


def test_a_mask_becomes_black_and_white() -> None:
    """False is 0 and True is 255."""
    assert converted(np.array([False, True]), 0, 1).tolist() == [0, 255]


@pytest.mark.parametrize("dtype", ["c8", "f16", "U1", "M8[s]"])
def test_what_is_no_number_is_refused(dtype: str) -> None:
    """The message says which dtypes are allowed."""
    with pytest.raises(SchemaError, match="use bool, an integer or a float"):
        Scaler((2, 2), dtype, (0, 1))


@pytest.mark.parametrize("scale", [(1, 0), (0, 0), (0, np.nan), (-np.inf, 0)])
def test_a_scale_that_does_not_ascend_is_refused(scale: tuple[float, float]) -> None:
    """The message says what a scale is."""
    with pytest.raises(SchemaError, match="low < high"):
        Scaler((2, 2), "f4", scale)


@pytest.mark.parametrize(("right", "bottom"), [(0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_padding_repeats_the_edge(channels: int, right: int, bottom: int) -> None:
    """The last column and row are there twice, in every channel; each call gives its own frame."""
    pad = Padder((5, 7, channels), right, bottom)
    rng = np.random.default_rng(0)
    for _ in range(2):
        image = rng.integers(0, 256, (5, 7, channels), np.uint8)
        wanted = np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="edge")
        assert bytes(pad(image.data.cast("B"))) == wanted.tobytes()
