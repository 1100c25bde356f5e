"""Which backend there is: the C extension, proved to agree with this package and with numpy, or none.

``RECD_BACKEND`` says which backend is used: ``native`` (an error if it is not there), ``python``, or, unset,
the native one where it was built.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import numpy as np

from . import layout
from .errors import OptionError

if TYPE_CHECKING:
    from . import _ring as extension
else:
    try:
        if os.environ.get("RECD_BACKEND", "") == "python":
            raise ImportError("RECD_BACKEND=python")
        from . import _ring as extension
    except ImportError:
        extension = None

__all__ = ["BACKEND", "extension"]

_CHOICES: Final = ("", "native", "python")


def _disagreement() -> str:
    """Why the extension cannot be used; "" if it can."""
    of_layout = {
        **layout.PRODUCER,
        **layout.CONSUMER,
        **vars(layout),
        "LOSS_ENTRY_BYTES": layout.LOSS_ENTRY.size,
        "CLOSE_PREFIX_BYTES": layout.CLOSE_PREFIX.size,
    }
    wrong = [name for name, value in extension.LAYOUT.items() if of_layout.get(name) != value]
    if wrong:
        return f"it was built for another layout of the ring ({', '.join(wrong)})"
    whole = np.arange(24, dtype="<f8").reshape(2, 3, 4)
    for array in (whole, whole[:, ::-1, 1:3], np.zeros((), np.uint8)):
        address = array.__array_interface__["data"][0]
        known = (address, array.shape, array.strides, id(array.dtype), array.flags.c_contiguous)
        if extension.describe(array) != known:
            return f"numpy {np.__version__} lays out its arrays in another way"
    return ""


def _choose() -> str:
    global extension
    wanted = os.environ.get("RECD_BACKEND", "")
    if wanted not in _CHOICES:
        raise OptionError(
            f"RECD_BACKEND={wanted!r}: expected native or python", "set one of them, or unset it"
        )
    why = "it was not built" if extension is None else _disagreement()
    if why:
        extension = None  # type: ignore[assignment]
        if wanted == "native":
            raise OptionError(
                f"RECD_BACKEND=native, but {why}", "install recd-client where there is a C compiler"
            )
    return "python" if extension is None else "native"


#: Which backend writes and reads rings in this process: ``"native"`` or ``"python"``.
BACKEND: Final = _choose()
