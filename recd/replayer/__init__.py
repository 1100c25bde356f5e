"""Recordings back into a simulation: ``recd.replay(run, model)``, state by state, or by the recorded actions.

=========  ============================================================================
rows       which stream has the states or actions, and where one does not follow from the other
report     :class:`Report`: where a simulation left the recording, and by how much
mujoco     :class:`MujocoReplay`; mujoco_state: what is recorded of MjData; viewing: MuJoCo's own window
gymnasium  :class:`GymnasiumReplay`; genesis: :class:`GenesisReplay`
=========  ============================================================================

Each adapter imports its simulator, and nothing else here does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Final

from recd_client.errors import MissingLibraryError, OptionError

from ..reader import Run
from ..reader import open as open_run
from .report import Difference, Divergence, Report, Skipped
from .rows import Row

__all__ = ["Difference", "Divergence", "Report", "Row", "Skipped", "replay"]

#: The suffixes of files that hold a model of MuJoCo.
_MODELS: Final = (".xml", ".mjb")


def replay(
    run: Run | str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    sim: Any,
    *,
    check: bool = False,
    **options: Any,
) -> Any:
    """A recording in a simulation again; with ``check``, whether the simulation does again what was recorded.

    Parameters
    ----------
    run : Run or path
        As for :func:`recd.open`.
    sim : MjModel, (MjModel, MjData), path of a model, gymnasium.Env, or an entity of Genesis
    check : bool
        Feed the recorded actions to the simulation, and compare what it does with what was recorded.
    **options
        ``stream`` and ``episodes``, and what the adapter's class takes; with ``check`` also what its method
        ``check`` takes: ``tolerance``, ...

    Returns
    -------
    MujocoReplay, GymnasiumReplay, GenesisReplay or Report
        Something to iterate over: for each sample the simulation is set to it. With ``check`` a report.

    Raises
    ------
    OptionError
        It is no simulation that is known here, or the recording does not have what is needed for it.
    MissingLibraryError
        The simulator is not installed.
    """
    made, own = _adapter(sim)
    given = {key: options.pop(key) for key in own if key in options}
    opened = run if isinstance(run, Run) else open_run(run)
    replayed = made(opened, sim, **given)
    if check:
        try:
            return _call(replayed.check, options)
        finally:
            if opened is not run:
                opened.close()
    if options:
        raise OptionError(f"{', '.join(options)}: only with check=True", "add it, or leave these out")
    return replayed


def _call(check: Any, options: dict[str, Any]) -> Any:
    known = check.__func__.__kwdefaults__ or {}
    for name in options:
        if name not in known:
            raise OptionError(
                f"{name}: no option of a check, it takes {', '.join(known)}", "choose one of these"
            )
    return check(**options)


def _adapter(sim: Any) -> tuple[Any, tuple[str, ...]]:
    """The class for this simulation, and the names of its own options."""
    first = sim[0] if isinstance(sim, tuple) and sim else sim
    kinds = {kind.__module__.partition(".")[0] for kind in type(first).__mro__}
    if isinstance(first, (str, os.PathLike)):
        if not os.fspath(first).endswith(_MODELS):
            raise OptionError(f"{first}: expected a model of MuJoCo, .xml or .mjb", "or pass a simulation")
        kinds = {"mujoco"}
    try:
        if "mujoco" in kinds:
            from .mujoco import MujocoReplay

            return MujocoReplay, ("stream", "episodes")
        if "gymnasium" in kinds:
            from .gymnasium import adapter

            return adapter, ("stream", "episodes")
        if "genesis" in kinds:
            from .genesis import GenesisReplay

            return GenesisReplay, ("stream", "episodes", "fields")
    except ModuleNotFoundError as e:
        raise MissingLibraryError(
            f"replaying needs {e.name}, which is not installed here", f"pip install {e.name}"
        ) from None
    raise OptionError(
        f"sim: cannot replay into {type(first).__name__}",
        "pass an MjModel or the path of one, (model, data), a gymnasium.Env, or an entity of Genesis",
    )
