"""Arrays of other libraries, without importing any of them.

A value that is no numpy array goes through three doors, in this order: the library that made it (found
in ``sys.modules``: who has a torch tensor has imported torch), then numpy itself (buffer protocol,
``__array_interface__``, ``__array__``), then DLPack. Device memory is copied once, synchronously;
torch's and cupy's straight into the place where it is wanted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .errors import SchemaError
from .native import extension

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DLPACK_HOST: Final = frozenset({1, 3})  # kDLCPU, kDLCUDAHost


class Source:
    """What a value looks like, and how to copy it.

    Parameters
    ----------
    dtype : numpy.dtype
    shape : tuple of int
    copy_to : callable
        Copies the value into a writable numpy array of this shape; done when it returns.
    """

    __slots__ = ("copy_to", "dtype", "shape")

    def __init__(
        self, dtype: np.dtype[Any], shape: tuple[int, ...], copy_to: Callable[[NDArray[Any]], object]
    ) -> None:
        self.dtype = dtype
        self.shape = shape
        self.copy_to = copy_to


def host_source(array: NDArray[Any]) -> Source:
    """The source of a numpy array."""

    def copy_to(place: NDArray[Any]) -> None:
        place[...] = array

    return Source(array.dtype, array.shape, copy_to)


def source_of(value: Any) -> Source:
    """The dtype and shape of an array-like value, and how to copy it; nothing is copied yet.

    Raises
    ------
    SchemaError
        It is no array, or one that cannot be read.
    """
    if isinstance(value, np.ndarray):
        if isinstance(value, getattr(sys.modules.get("numpy.ma"), "MaskedArray", ())):
            raise SchemaError("a masked array, whose mask would be lost", "write .filled(...) instead")
        return host_source(value)
    library = type(value).__module__.partition(".")[0]
    if library not in _DOORS and isinstance(value, getattr(sys.modules.get("torch"), "Tensor", ())):
        library = "torch"  # a user's subclass
    door = _DOORS.get(library)
    if door is None or not hasattr(value, "dtype"):
        door = _generic
    if extension is not None and (host := _HOSTS.get(door)) and type(value).__module__ in _OWN_MODULES:
        extension.HOSTS[type(value)] = host  # from the next one on, C looks at it by itself
    try:
        return door(value)
    except SchemaError:
        raise
    except Exception as e:  # whatever a library raises when it cannot hand out its data
        raise SchemaError(
            f"{type(value).__name__} cannot be read as an array ({type(e).__name__}: {e})",
            "write numbers, strings, or arrays of one shape and dtype",
        ) from None


def _generic(value: Any) -> Source:
    """Numpy's own protocols, then DLPack, then CUDA's array interface."""
    has_device = hasattr(value, "__cuda_array_interface__")
    if not has_device and (hasattr(value, "__array__") or not hasattr(value, "__dlpack_device__")):
        return host_source(np.asarray(value))
    if not has_device and int(value.__dlpack_device__()[0]) in _DLPACK_HOST:
        return host_source(np.from_dlpack(value))
    if "cupy" in sys.modules:
        return _cupy(sys.modules["cupy"].asarray(value))
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        return _torch(torch.as_tensor(value) if has_device else torch.from_dlpack(value))
    raise SchemaError(
        f"{type(value).__name__} lies in device memory, and neither cupy nor torch is loaded to copy it",
        "convert it to a numpy array first",
    )


def _torch(tensor: Any) -> Source:
    torch = sys.modules["torch"]
    name = str(tensor.dtype).removeprefix("torch.")
    try:
        dtype = np.dtype(name)
    except TypeError:
        raise SchemaError(f"a tensor of dtype {name}", "call .float() or .half() on it") from None
    if tensor.layout is not torch.strided:
        raise SchemaError(f"a tensor of layout {tensor.layout}", "call .to_dense() on it")

    def copy_to(place: NDArray[Any]) -> None:
        # one copy from any device and any strides; it has happened when copy_ returns
        torch.from_numpy(place).copy_(tensor.detach())

    return Source(dtype, tuple(tensor.shape), copy_to)


def _cupy(array: Any) -> Source:
    def copy_to(place: NDArray[Any]) -> None:
        if place.flags.c_contiguous:
            array.get(out=place)
        else:
            place[...] = array.get()

    return Source(np.dtype(array.dtype), tuple(array.shape), copy_to)


def _jax(array: Any) -> Source:
    return host_source(np.asarray(array))  # a view on CPU; from a device one copy, which jax keeps


def _warp(array: Any) -> Source:
    return host_source(array.numpy())  # a view on CPU, one synchronous copy from a device


def _torch_host(tensor: Any) -> Any:
    """A view of a tensor in the CPU's memory, else None."""
    if not tensor.is_cpu:
        return None
    return (tensor.detach() if tensor.requires_grad else tensor).numpy()


def _jax_host(array: Any) -> Any:
    """A view of an array in the CPU's memory, else None."""
    return np.asarray(array) if getattr(getattr(array, "device", None), "platform", "") == "cpu" else None


_HOSTS: Final[dict[Callable[[Any], Source], Callable[[Any], Any]]] = {_torch: _torch_host, _jax: _jax_host}
#: No subclass of a user's, which may mean something else.
_OWN_MODULES: Final = ("torch", "torch.nn.parameter", "jaxlib", "jaxlib._jax", "jaxlib.xla_extension")

_DOORS: Final[dict[str, Callable[[Any], Source]]] = {
    "torch": _torch,
    "jax": _jax,
    "jaxlib": _jax,
    "cupy": _cupy,
    "warp": _warp,
}
