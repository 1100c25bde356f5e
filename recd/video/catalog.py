"""The encoders that recd knows, and how each is driven.

Choices that hold for all of them, and why:

- No B-frames, no look-ahead, no frame threads: a frame is in the file one frame later (instead of 10 to 13),
  and what a cut file holds are the first frames, in order, without holes.
- Presets that keep up. Time of one core for a 640x480 frame with libx264, and size at equal fidelity:
  ultrafast 2.5 ms, 130 %; superfast 3.0 ms, 100 %; veryfast 4.1 ms, 76 %; faster 5.8 ms, 65 %.
  superfast is taken; ``codec_options={"preset": "veryfast"}`` takes another.
- Hardware first within a family.

Hardware that cannot be tried where recd is developed is driven with options that ffmpeg documents, and every
choice is tried on the user's machine before it is made (:func:`recd.video.codecs.choose`).
"""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True)
class EncoderSpec:
    """How one of ffmpeg's encoders is driven.

    Parameters
    ----------
    usual : mapping
        Options that a user may override.
    quality : (str, number), optional
        The option that takes the quality, and its usual value; None for lossless encoders.
    devices : tuple of str
        Patterns of files of which one is there when the hardware may be; empty for software.
    surfaces : mapping
        Pixel formats that may be asked for, and what the hardware is handed for each.
    fixed : tuple of str
        Arguments that nobody may override.
    params : (str, str), optional
        An option of the form ``a=1:b=2``, and what is always added to it.
    """

    usual: Mapping[str, str | int]
    quality: tuple[str, int] | None
    devices: tuple[str, ...] = ()
    surfaces: Mapping[str, str] = field(default_factory=dict)
    fixed: tuple[str, ...] = ()
    params: tuple[str, str] | None = None

    def device(self) -> str | None:
        """A device file that is there; None for software, or without the hardware."""
        found = sorted(path for pattern in self.devices for path in glob.glob(pattern))
        return found[0] if found else None

    @property
    def may_work(self) -> bool:
        """Whether it is worth a try: software always, hardware where its device is."""
        return not self.devices or self.device() is not None


_NVIDIA: Final = ("/dev/nvidia[0-9]*", "/dev/dxg")
_RENDER: Final = ("/dev/dri/renderD*",)
_NO_B: Final = ("-bf:v", "0")
_NO_B_HEVC: Final = (*_NO_B, "-tag:v", "hvc1")  # without this tag Apple's players refuse HEVC
_SURFACES: Final = {"yuv420p": "nv12", "nv12": "nv12", "yuv420p10le": "p010le", "p010le": "p010le"}
_NVENC: Final[Mapping[str, str | int]] = {
    "preset": "p4",
    "tune": "ll",
    "rc": "vbr",
    "delay": 0,
    "zerolatency": 1,
}
_QSV: Final[Mapping[str, str | int]] = {"preset": "veryfast", "async_depth": 1}
_VAAPI: Final[Mapping[str, str | int]] = {"async_depth": 1}
_X26_PARAMS: Final = "bframes=0"

ENCODERS: Final[Mapping[str, EncoderSpec]] = {
    "h264_nvenc": EncoderSpec(_NVENC, ("cq", 21), _NVIDIA, fixed=_NO_B),
    "hevc_nvenc": EncoderSpec(_NVENC, ("cq", 23), _NVIDIA, fixed=_NO_B_HEVC),
    "av1_nvenc": EncoderSpec(_NVENC, ("cq", 30), _NVIDIA, fixed=_NO_B),
    "h264_qsv": EncoderSpec(_QSV, ("global_quality", 21), _RENDER, _SURFACES, fixed=_NO_B),
    "hevc_qsv": EncoderSpec(_QSV, ("global_quality", 23), _RENDER, _SURFACES, fixed=_NO_B_HEVC),
    "h264_vaapi": EncoderSpec(_VAAPI, ("qp", 21), _RENDER, _SURFACES, fixed=_NO_B),
    "hevc_vaapi": EncoderSpec(_VAAPI, ("qp", 23), _RENDER, _SURFACES, fixed=_NO_B_HEVC),
    "libx264": EncoderSpec(
        {"preset": "superfast", "tune": "zerolatency"},
        ("crf", 20),
        fixed=_NO_B,
        params=("x264-params", _X26_PARAMS),
    ),
    "libx265": EncoderSpec(
        {"preset": "ultrafast", "tune": "zerolatency"},
        ("crf", 22),
        fixed=_NO_B_HEVC,
        params=("x265-params", f"log-level=error:{_X26_PARAMS}"),
    ),
    "libopenh264": EncoderSpec({"rc_mode": "quality"}, ("qmax", 28)),
    "libsvtav1": EncoderSpec({"preset": 12}, ("crf", 30), params=("svtav1-params", "pred-struct=1")),
    "libaom-av1": EncoderSpec(
        {"usage": "realtime", "cpu-used": 8, "lag-in-frames": 0, "row-mt": 1}, ("crf", 30)
    ),
    "libvpx-vp9": EncoderSpec(
        {"deadline": "realtime", "cpu-used": 8, "lag-in-frames": 0, "row-mt": 1, "auto-alt-ref": 0},
        ("crf", 30),
    ),
    "ffv1": EncoderSpec({"level": 3, "slices": 4, "slicecrc": 1, "g": 1}, None),
    "mpeg4": EncoderSpec({}, ("q", 3), fixed=_NO_B),
}

FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    "h264": ("h264_nvenc", "h264_qsv", "h264_vaapi", "libx264", "libopenh264"),
    "hevc": ("hevc_nvenc", "hevc_qsv", "hevc_vaapi", "libx265"),
    "av1": ("av1_nvenc", "libsvtav1", "libaom-av1"),
    "vp9": ("libvpx-vp9",),
    "ffv1": ("ffv1",),
    "mpeg4": ("mpeg4",),
}
#: What is tried when nothing was asked for: H.264 plays everywhere, MPEG-4 is in every ffmpeg.
ANY: Final = (*FAMILIES["h264"], "mpeg4")
