"""Arrays of other libraries: doubles stand in for those that are not installed."""

from __future__ import annotations

import array
import ctypes
import importlib
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recd_client.arrays import source_of
from recd_client.errors import SchemaError
from recd_client.sample import infer

FOREIGN = ("torch", "jax", "jaxlib", "cupy", "warp")


def copied(value: Any) -> np.ndarray[Any, Any]:
    """The value, copied the way a write copies it into a record."""
    source = source_of(value)
    place = np.full(source.shape, 99, source.dtype)
    source.copy_to(place)
    return place


def module(monkeypatch: pytest.MonkeyPatch, name: str, **names: Any) -> ModuleType:
    """A loaded module of that name, with these names in it."""
    double = ModuleType(name)
    double.__dict__.update(names)
    monkeypatch.setitem(sys.modules, name, double)
    return double


class FakeTensor:
    """What matters of a torch tensor: it has a device, a layout, a graph, and no array interface."""

    def __init__(
        self, values: np.ndarray[Any, Any], dtype: str | None = None, layout: str = "strided"
    ) -> None:
        self.values = values
        self.dtype = f"torch.{dtype or values.dtype.name}"
        self.layout = layout
        self.shape = values.shape
        self.detached = False

    def detach(self) -> FakeTensor:
        out = FakeTensor(self.values)
        out.detached = True
        return out

    def copy_(self, other: FakeTensor) -> None:
        assert other.detached
        self.values[...] = other.values


FakeTensor.__module__ = "torch"


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A double of torch that only copies, from any device."""
    return module(monkeypatch, "torch", strided="strided", Tensor=FakeTensor, from_numpy=FakeTensor)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(12.0).reshape(3, 4)[::-1],
        np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
        np.zeros((4, 6, 3), np.uint8)[::-1, ::2],
        np.broadcast_to(np.float32(3), (2, 5)),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(3, dtype=">i4"),
        np.frombuffer(b"abc", np.uint8),
    ],
    ids=["flipped", "transposed", "sliced", "broadcast", "fortran", "big-endian", "read-only"],
)
def test_any_strides_are_copied(value: np.ndarray[Any, Any]) -> None:
    """Views of every kind arrive as the values that they show."""
    np.testing.assert_array_equal(copied(value), value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (array.array("d", [1, 2]), np.array([1.0, 2.0])),
        (bytearray(b"ab"), np.array([97, 98], np.uint8)),
        ((ctypes.c_int32 * 3)(1, 2, 3), np.array([1, 2, 3], np.int32)),
        (memoryview(np.arange(4, dtype="f4").reshape(2, 2)), np.array([[0, 1], [2, 3]], np.float32)),
    ],
)
def test_the_buffer_protocol_is_enough(value: Any, expected: np.ndarray[Any, Any]) -> None:
    """Anything that shows its memory is an array."""
    got = copied(value)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


def test_the_array_interface_is_enough() -> None:
    """An object that only describes where its data lies is an array (images of other libraries do)."""
    data = np.arange(6, dtype=np.uint8).reshape(2, 3)
    np.testing.assert_array_equal(
        copied(SimpleNamespace(__array_interface__=data.__array_interface__, keep=data)), data
    )


def test_dlpack_alone_is_enough() -> None:
    """An object of a library nobody knows, with DLPack on the host, is an array."""
    data = np.arange(3.0)

    class Alien:
        def __dlpack__(self, **kwargs: Any) -> Any:
            return data.__dlpack__(**kwargs)

        def __dlpack_device__(self) -> tuple[int, int]:
            return (1, 0)

    np.testing.assert_array_equal(copied(Alien()), data)


@pytest.mark.parametrize(
    "attributes",
    [{"__dlpack__": None, "__dlpack_device__": lambda: (2, 0)}, {"__cuda_array_interface__": {}}],
)
def test_device_memory_that_nobody_can_copy_is_a_clear_error(
    attributes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the library that could copy it, the message says where the data lies and what to do."""
    for name in FOREIGN:
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(SchemaError, match="device memory") as caught:
        source_of(SimpleNamespace(**attributes))
    assert "numpy array" in caught.value.do


def test_no_library_is_ever_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at a value loads nothing that the simulation did not load itself."""
    for name in FOREIGN:
        monkeypatch.delitem(sys.modules, name, raising=False)
    before = set(sys.modules)
    for value in (1.5, [1, 2], np.zeros(3), memoryview(b"abc")):
        source_of(value)
    assert not (set(sys.modules) - before) & set(FOREIGN)


def test_a_tensor_is_copied_straight_into_its_place(torch: ModuleType) -> None:
    """One copy, made by torch itself, of the tensor without its graph."""
    tensor = FakeTensor(np.arange(6, dtype=np.float32).reshape(2, 3))
    source = source_of(tensor)
    assert (source.dtype, source.shape) == (np.dtype("f4"), (2, 3))
    np.testing.assert_array_equal(copied(tensor), tensor.values)


def test_a_users_kind_of_tensor_is_a_tensor(torch: ModuleType) -> None:
    """A subclass that lives in another module takes the same way."""

    class Mine(FakeTensor):
        pass

    np.testing.assert_array_equal(copied(Mine(np.arange(3.0))), np.arange(3.0))


@pytest.mark.parametrize(
    ("tensor", "hint"),
    [
        (FakeTensor(np.zeros(2), dtype="bfloat16"), ".float()"),
        (FakeTensor(np.zeros(2), dtype="float8_e4m3fn"), ".float()"),
        (FakeTensor(np.zeros(2), layout="sparse_coo"), ".to_dense()"),
    ],
)
def test_a_tensor_that_numpy_cannot_hold_says_how_to_convert_it(
    torch: ModuleType, tensor: FakeTensor, hint: str
) -> None:
    """bfloat16 and sparse tensors are refused with the call that makes them recordable."""
    with pytest.raises(SchemaError) as caught:
        infer({"obs": tensor})
    assert "'obs'" in caught.value.what
    assert hint in caught.value.do


def test_a_cupy_array_is_copied_straight_into_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """One copy from the device, by cupy; through a buffer only where the place has gaps."""
    module(monkeypatch, "cupy")

    class Device:
        def __init__(self, values: np.ndarray[Any, Any]) -> None:
            self.values, self.dtype, self.shape = values, values.dtype, values.shape
            self.__cuda_array_interface__ = {"data": (0, True)}
            self.direct = 0

        def get(self, out: Any = None) -> Any:
            if out is None:
                return self.values
            self.direct += 1
            out[...] = self.values
            return out

    Device.__module__ = "cupy"
    device = Device(np.arange(4, dtype=np.float32))
    np.testing.assert_array_equal(copied(device), device.values)
    assert device.direct == 1
    gaps = np.zeros(8, np.float32)[::2]
    source_of(device).copy_to(gaps)
    np.testing.assert_array_equal(gaps, device.values)


@pytest.mark.parametrize("library", ["cupy", "torch"])
def test_another_librarys_device_array_goes_through_one_that_can(
    library: str, monkeypatch: pytest.MonkeyPatch, torch: ModuleType
) -> None:
    """A CUDA array interface of an unknown library is handed to cupy or torch, whichever is loaded."""
    values = np.arange(3.0)
    alien = SimpleNamespace(__cuda_array_interface__={}, values=values)
    if library == "cupy":
        device = SimpleNamespace(
            dtype=values.dtype, shape=values.shape, get=lambda out: out.__setitem__(..., values)
        )
        module(monkeypatch, "cupy", asarray=lambda _: device)
    else:
        monkeypatch.delitem(sys.modules, "cupy", raising=False)
        torch.as_tensor = lambda a: FakeTensor(a.values)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(copied(alien), values)


@pytest.mark.parametrize("library", ["jaxlib", "warp"])
def test_jax_and_warp_arrays_are_read_as_they_offer(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``__array__`` of jax and ``.numpy()`` of warp give the values, from any device."""
    module(monkeypatch, library)

    class Theirs:
        dtype = "float32"
        __cuda_array_interface__: dict[str, Any] = {}  # noqa: RUF012  - what theirs have too

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return np.arange(3, dtype=np.float32)

        def numpy(self) -> Any:
            return self.__array__()

    Theirs.__module__ = f"{library}.core"
    np.testing.assert_array_equal(copied(Theirs()), np.arange(3, dtype=np.float32))


def test_a_library_that_refuses_is_quoted() -> None:
    """An error inside another library becomes a SchemaError that says whose it was."""

    class Traced:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            raise RuntimeError("no concrete value")

    with pytest.raises(SchemaError, match=r"Traced.*RuntimeError: no concrete value"):
        source_of(Traced())


@pytest.mark.requires("torch")
def test_real_torch_tensors_are_recorded() -> None:
    """Strided, transposed, 0-d and requires_grad tensors, of every dtype that numpy has."""
    torch = importlib.import_module("torch")
    base = torch.arange(24).reshape(4, 6)
    for dtype in ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"):
        tensor = base.to(getattr(torch, dtype)).T[::2]
        np.testing.assert_array_equal(copied(tensor), tensor.numpy())
        assert copied(tensor).dtype == np.dtype(dtype)
    np.testing.assert_array_equal(copied(torch.ones(3, requires_grad=True) * 2), [2, 2, 2])
    np.testing.assert_array_equal(copied(torch.nn.Parameter(torch.ones(2))), [1, 1])
    assert copied(torch.tensor(1.5)).shape == ()
    with pytest.raises(SchemaError, match="bfloat16"):
        infer(torch.zeros(2, dtype=torch.bfloat16))
