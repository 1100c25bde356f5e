"""Which streams of a recording are played."""

from __future__ import annotations

import re
from collections.abc import Sequence

from recd_client.errors import OptionError

from ..reader import ArrayStream, Run, VideoStream


def chosen(
    run: Run,
    streams: Sequence[str] | str | None = None,
    regex: str | None = None,
    exclude: str | None = None,
) -> dict[str, ArrayStream | VideoStream]:
    """The streams with one of these names, or whose name the expression matches as a whole; without the excluded.

    Raises
    ------
    OptionError
        A name is none of the recording, an expression is malformed, or nothing is left.
    """
    if isinstance(streams, str):
        streams = [streams]
    there = f"the recording has {', '.join(run.streams) or 'no streams'}"
    for name in streams or ():
        if name not in run.streams:
            raise OptionError(f"streams: no stream {name!r}, {there}", "choose of these")
    wanted = _expression("regex", regex)
    unwanted = _expression("exclude", exclude)
    found = {
        name: stream
        for name, stream in run.streams.items()
        if (
            name in (streams or ()) or (wanted and wanted.fullmatch(name)) or (streams is None and not wanted)
        )
        and not (unwanted and unwanted.fullmatch(name))
    }
    if not found:
        asked = {"streams": streams, "regex": regex, "exclude": exclude}
        given = ", ".join(f"{key}={value!r}" for key, value in asked.items() if value is not None)
        raise OptionError(f"{given or 'all streams'}: no stream is left, {there}", "choose of these")
    return found


def _expression(name: str, text: str | None) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        return re.compile(text)
    except re.error as e:
        raise OptionError(
            f"{name}={text!r} is no regular expression: {e}", "names are matched as a whole"
        ) from None
