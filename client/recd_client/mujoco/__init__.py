"""MuJoCo: states with the names and units of the model, and cameras rendered into shared memory.

::

    with record(model, data, CSVFile("state.csv"), cameras="track", dir="run") as rec:
        for _ in range(1000):
            mujoco.mj_step(model, data)
            rec.step()
"""

from ..errors import MissingLibraryError

try:
    import mujoco as _mujoco
except ModuleNotFoundError as e:
    if (e.name or "").partition(".")[0] != "mujoco":
        raise
    raise MissingLibraryError(
        "recd_client.mujoco needs the package mujoco, which is not installed here", "pip install mujoco"
    ) from None

from .names import Column, columns_of
from .recording import Recording, record

__all__ = ["Column", "Recording", "columns_of", "record"]
del _mujoco
