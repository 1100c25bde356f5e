"""Formats to convert into, looked up by name; nothing of one is imported before it is asked for."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Final

from recd_client.errors import MissingLibraryError, OptionError

from .base import DatasetInfo, EpisodeTarget, StreamTarget

_CLASSES: Final = {
    "csv": ("recorded", "CSVTarget"),
    "npz": ("recorded", "NPZTarget"),
    "hdf5": ("recorded", "HDF5Target"),
    "parquet": ("parquet", "ParquetTarget"),
    "zarr": ("zarr", "ZarrTarget"),
    "mcap": ("mcap", "MCAPTarget"),
    "rrd": ("rrd", "RRDTarget"),
    "lerobot": ("lerobot", "LeRobotTarget"),
    "robomimic": ("robomimic", "RobomimicTarget"),
    "minari": ("minari", "MinariTarget"),
    "mp4": ("mp4", "MP4Target"),
    "png": ("png", "PNGTarget"),
}
#: What :func:`get` knows.
NAMES: Final = tuple(_CLASSES)


def get(name: str) -> type[StreamTarget] | type[EpisodeTarget]:
    """The target of that name.

    Raises
    ------
    OptionError
        There is none.
    MissingLibraryError
        What it is made with is not installed.
    """
    if name not in _CLASSES:
        raise OptionError(f"format {name!r}: expected one of {', '.join(NAMES)}", "choose one of these")
    module, attribute = _CLASSES[name]
    try:
        loaded = importlib.import_module(f".{module}", __name__)
    except (
        ModuleNotFoundError
    ) as e:  # a target that is built around its library, after which its extra is called
        if (e.name or "recd").split(".")[0] == "recd":
            raise
        raise MissingLibraryError(
            f"format {name!r} needs {e.name}, which is not installed here",
            f"install it: pip install 'recd[{name}]'",
        ) from None
    found: type[StreamTarget] | type[EpisodeTarget] = getattr(loaded, attribute)
    missing = [library for library in found.libraries if importlib.util.find_spec(library) is None]
    if missing:
        raise MissingLibraryError(
            f"format {name!r} needs {', '.join(missing)}, which is not installed here",
            f"install it: pip install 'recd[{found.extra}]'",
        )
    return found


__all__ = ["NAMES", "DatasetInfo", "EpisodeTarget", "StreamTarget", "get"]
