"""A complete part of a video: its pieces become one file, described and sealed; in the finisher's thread."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from recd_client.errors import OutputError

from .finisher import Job
from .parts import Part, PartsFile, seal
from .runner import SinkContext
from .shots import ShotIndex
from .video import files
from .video.counting import is_complete
from .video.settings import VideoSettings


class Films:
    """Makes the files of one video's parts.

    Parameters
    ----------
    context : SinkContext
    settings : VideoSettings
    parts : PartsFile
    told : mapping
        What else the manifest says of each file.
    """

    def __init__(
        self, context: SinkContext, settings: VideoSettings, parts: PartsFile, told: Mapping[str, Any]
    ) -> None:
        self._context = context
        self._settings = settings
        self._parts = parts
        self._told = told

    def finish(self, part: Part, final: Path, index: ShotIndex, retimed: Fraction | None, job: Job) -> None:
        """Join, retime and seal a part; what a kill leaves half done is done again.

        Parameters
        ----------
        retimed : Fraction, optional
            Another rate than that of the pieces.
        """
        pieces = [Path(p["path"]) for p in part.details["pieces"] if p["count"] > 0]
        path, suffix = pieces[0], final.suffix.lower()
        plain = path.suffix == suffix and (not path.exists() or is_complete(path))
        as_it_is = len(pieces) == 1 and retimed is None and plain
        if not as_it_is:
            path = path.with_name(f"{path.stem}-joined{suffix}")
        if not part.path or path.exists():
            if self._context.rebooted:
                _check_pieces(part)
                frames = sum(piece["count"] for piece in part.details["pieces"] if piece["count"] > 0)
                index.fill(frames, part.begin, int(part.details["first_seq"]))
            index.sync()
            index.close()
            if not as_it_is:
                files.join(pieces, path, retimed or self._settings.fps, self._settings.title)
            part.details["video"] = self._describe(path, part.details["encoder"])
        seal(part, path, final, self._parts, replace=self._context.replace, job=job)
        remove_pieces(part)

    def _describe(self, path: Path, encoder: str | None) -> dict[str, Any]:
        """What the manifest says of the video itself."""
        info = files.describe(path)
        right, bottom = self._settings.padding
        return {
            "codec": info.codec,
            "pixel_format": info.pixel_format,
            "width": info.width,
            "height": info.height,
            "padding": {"right": right, "bottom": bottom},
            "fps": float(info.fps),
            "fps_fraction": f"{info.fps.numerator}/{info.fps.denominator}",
            "encoder": encoder,
            **self._told,
        }


def _check_pieces(part: Part) -> None:
    """Refuse to finish a part of which a loss of power has taken something."""
    for piece in part.details["pieces"]:
        if piece["count"] > 0 and files.count_intact(Path(piece["path"])) < piece["count"]:
            raise OutputError(
                f"{piece['path']} lost frames with the power", "see: recd info on its directory"
            )


def remove_pieces(part: Part) -> None:
    """The pieces of a finished part are gone."""
    for piece in part.details["pieces"]:
        Path(piece["path"]).unlink(missing_ok=True)
