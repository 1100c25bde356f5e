"""Finding Genesis, and teaching it recd's recorders."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any, Final

import recd_client

from ..errors import MissingLibraryError
from ..options import SinkOptions
from . import mapping, recording

#: Versions that the tests run with.
KNOWN: Final = ("0.4.5", "1.4.5")
_HOW: Final = f"pip install genesis-world=={KNOWN[-1]} (or {', '.join(KNOWN[:-1])})"

#: What Genesis had in the places that :func:`install` changed.
_replaced: list[tuple[Any, str, Any]] = []
_types_before: dict[Any, Any] = {}


def genesis() -> ModuleType:
    """Genesis, of a version that is known to work.

    Raises
    ------
    MissingLibraryError
        It is not installed, cannot be imported, or is of another version.
    """
    try:
        found = import_module("genesis")
    except ImportError as e:
        raise MissingLibraryError(
            f"recd_client.genesis needs Genesis, which cannot be imported: {e}", _HOW
        ) from e
    version = str(getattr(found, "__version__", "without a version"))
    if version not in KNOWN:
        raise MissingLibraryError(
            f"Genesis {version}: recd_client.genesis knows {' and '.join(KNOWN)}, whose recorders differ",
            f"{_HOW}, or update recd-client",
        )
    return found


def register() -> None:
    """Genesis takes recd's options as ``rec_options``.

    Raises
    ------
    MissingLibraryError
        There is no Genesis that is known to work.
    """
    gs = genesis()
    from .recorder import recorder_class

    recorder = recorder_class(gs)
    for thing in (getattr(recd_client, name) for name in recd_client.__all__):
        if isinstance(thing, type) and issubclass(thing, SinkOptions) and thing.kind:
            gs.recorders.register_recording(thing)(recorder)


def configure(**settings: Any) -> None:
    """Recordings of scenes that are built from now on have these settings; those not named stay as they are.

    Parameters
    ----------
    dir : str or path-like, optional
        Where relative filenames land, and the manifest; default: the current directory, as with Genesis, and
        the manifest in ``recordings/``.
    overwrite : {"replace", "error", "number"}
        What to do about files that exist. ``"replace"`` as Genesis does.
    on_error : {"raise", "warn"}
        What an error in a ``data_func``, or of its sample, does to ``scene.step()``.
    durability, metadata, spool_limit
        As of :class:`recd_client.Recorder`.

    Raises
    ------
    OptionError
        A setting is unknown or not allowed.
    """
    recording.settings = recording.settings.changed(settings)


def install(**settings: Any) -> None:
    """Genesis' own options and its cameras record through recd from now on; calls may be repeated.

    Recorders that were added before keep what they have. ``settings`` as of :func:`configure`.

    Raises
    ------
    MissingLibraryError, OptionError
    """
    gs = genesis()
    if settings:
        configure(**settings)
    if _types_before:
        return
    from .cameras import replacements
    from .recorder import recorder_class

    known, recorder = gs.recorders.RecorderManager.RECORDER_TYPES_MAP, recorder_class(gs)
    for name in mapping.NAMES:
        options = getattr(gs.recorders, name)
        _types_before[options] = known[options]
        known[options] = recorder
    camera = import_module("genesis.vis.camera").Camera
    for name, method in replacements(gs, camera).items():
        _replaced.append((camera, name, getattr(camera, name)))
        setattr(camera, name, method)


def uninstall() -> None:
    """Undo :func:`install`; recordings that run go on as they are."""
    if not _types_before:
        return
    genesis().recorders.RecorderManager.RECORDER_TYPES_MAP.update(_types_before)
    _types_before.clear()
    while _replaced:
        setattr(*_replaced.pop())


def installed() -> bool:
    """Whether Genesis' own options and cameras record through recd."""
    return bool(_types_before)
