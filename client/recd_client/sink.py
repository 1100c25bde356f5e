"""The base class of users' own recorders. They run in a process of their own, see :class:`CustomSink`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .schema import Schema


class Sink:
    """A recorder of your own: override what you need.

    One object takes the samples of one part; ``save_on_reset`` and ``split`` make a new one for each. What it is
    told comes from one thread, in the order in which it was recorded, in a process of its own. Its current directory
    is that of the recording.

    Attributes
    ----------
    directory : Path
        The recording's directory, where relative filenames land.
    filename : Path or None
        Where to write, if ``CustomSink`` was given a ``filename``: the file has its final name once it is complete.
        It may hold what this recorder has written before an interruption.
    stream : str
        Name of the stream.
    part : int
        Number of the part, from 0.
    metadata : dict
        Of the recording.
    state : object
        What :meth:`sync` returned last; None at the beginning. Also in a new process, after an interruption: then the
        samples since come again.
    """

    directory: Path = Path()
    filename: Path | None = None
    stream: str = ""
    part: int = 0
    metadata: dict[str, Any] = {}  # noqa: RUF012  - set for each object before open()
    state: Any = None

    def open(self, schema: Schema) -> None:
        """Samples will come that look like this; also after an interruption, see :attr:`state`."""

    def write(self, batch: NDArray[np.void]) -> None:
        """Take some samples: a structured array with the fields ``seq``, ``t``, ``step`` and those of the samples.

        Ragged arrays and strings are fields of objects: an array, or a ``str``, for each sample. A jump of ``seq``
        is a loss. The array is this recorder's to keep, or to change.
        """
        raise NotImplementedError(f"{type(self).__name__} has no write(batch)")

    def reset(self, envs_idx: list[int] | None = None) -> None:
        """The simulation was reset here, as a whole (None) or in these environments."""

    def mark(self, label: str, t: float, step: int, fields: dict[str, Any]) -> None:
        """Something was marked here (``Recorder.mark``, pauses)."""

    def sync(self) -> Any:
        """Everything so far is where it survives this process; called now and then, and before :meth:`close`.

        What this returns (anything small that JSON can hold, such as the length of a file) is given back as
        :attr:`state` after an interruption. Whoever goes on from there writes every sample once.
        """
        return None

    def close(self) -> None:
        """No more samples come: complete what was begun."""

    def discard(self) -> None:
        """Throw away what was taken: the user discarded this part. The object is not used any more."""
