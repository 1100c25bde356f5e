"""As much of Genesis as recd touches, so that its rules can be tested where there is none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

import recd_client

#: What is loaded anew with another Genesis.
OURS = "recd_client.genesis"


class Recorder:
    """Genesis' base class."""

    def __init__(self, manager: Any, options: Any, data_func: Callable[[], Any]) -> None:
        self._manager, self._options, self._data_func = manager, options, data_func
        self._is_built = self._is_recording = False
        self._steps_per_sample = max(1, round(1 / (options.hz * manager._step_dt))) if options.hz else 1

    def build(self) -> None:
        self._is_built = True


class Options:
    """Options of Genesis; their names and defaults are those that recd reads."""

    model_fields: ClassVar[dict[str, Any]] = {}

    def __init__(self, **given: Any) -> None:
        defaults = {
            "hz": None, "buffer_size": 0, "buffer_full_wait_time": 0.1, "header": None, "save_every_write": False,
            "fps": None, "name": "", "codec": "", "bitrate": 1.0, "codec_options": {},
        }  # fmt: skip
        self.__dict__.update(defaults | given)
        type(self).model_fields = dict.fromkeys(given)


class RecorderManager:
    """Keeps the recorders of a scene, and calls them as 1.4.5 does."""

    RECORDER_TYPES_MAP: ClassVar[dict[Any, Any]] = {}

    def __init__(self, step_dt: float) -> None:
        self._step_dt = step_dt
        self.recorders: list[Any] = []
        self.global_step = 0

    def add_recorder(self, data_func: Callable[[], Any], options: Any) -> Any:
        self.recorders.append(self.RECORDER_TYPES_MAP[type(options)](self, options, data_func))
        return self.recorders[-1]

    def build(self) -> None:
        for recorder in self.recorders:
            recorder.build()
            recorder.start()

    def step(self) -> None:
        for recorder in self.recorders:
            recorder.step(self.global_step)
        self.global_step += 1

    def reset(self, envs_idx: Any = None) -> None:
        for recorder in self.recorders:
            recorder.reset(envs_idx)

    def stop(self) -> None:
        for recorder in self.recorders:
            recorder.stop()


class CollectingCamera:
    """Genesis' camera as in 0.4.5: it keeps what it rendered, and encodes it when the recording stops."""

    idx = 0
    _is_batched = False

    def __init__(self) -> None:
        self._in_recording = False
        self._recorded_t_prev = -1
        self._recorded_imgs: Any = []
        self._visualizer = SimpleNamespace(
            scene=SimpleNamespace(dt=0.01, sim=SimpleNamespace(cur_step_global=0))
        )

    def start_recording(self) -> None:
        self._in_recording = True

    def render(self, image: Any) -> None:
        self._visualizer.scene.sim.cur_step_global += 1
        if self._in_recording:
            self._recorded_imgs.append(image)

    def stop_recording(self, save_to_filename: Any = None, fps: int = 60) -> None:
        self.encoded = [*self._recorded_imgs]
        self._recorded_imgs.clear()
        self._in_recording = False


def make(version: str = "1.4.5") -> dict[str, ModuleType]:
    """The modules of a Genesis of this version."""
    kinds = {name: type(name, (Options,), {}) for name in NAMES}

    class Manager(RecorderManager):
        RECORDER_TYPES_MAP: ClassVar[dict[Any, Any]] = {
            kind: f"its own for {name}" for name, kind in kinds.items()
        }

    def register_recording(options: type) -> Callable[[type], type]:
        def register(recorder: type) -> type:
            Manager.RECORDER_TYPES_MAP[options] = recorder
            return recorder

        return register

    class Camera:
        def start_recording(self, save_to_filename: Any = None, fps: Any = None) -> None: ...
        def stop_recording(self) -> None: ...

    gs, base, camera = ModuleType("genesis"), ModuleType("base_recorder"), ModuleType("camera")
    gs.__dict__.update(
        __version__=version,
        recorders=SimpleNamespace(RecorderManager=Manager, register_recording=register_recording, **kinds),
    )
    base.Recorder = Recorder  # type: ignore[attr-defined]
    camera.Camera = CollectingCamera if version < "1" else Camera  # type: ignore[attr-defined]
    return {"genesis": gs, "genesis.recorders.base_recorder": base, "genesis.vis.camera": camera}


NAMES = (
    "CSVFile",
    "NPZFile",
    "VideoFile",
    "MPLLinePlot",
    "PyQtLinePlot",
    "MPLImagePlot",
    "MPLVectorFieldPlot",
)


def put(patch: pytest.MonkeyPatch, modules: dict[str, ModuleType] | None) -> None:
    """These modules are what ``import genesis`` finds, or nothing is; recd's adapter is loaded anew."""
    for name in [n for n in sys.modules if n == OURS or n.startswith(f"{OURS}.")]:
        patch.delitem(sys.modules, name)
    if "genesis" in vars(recd_client):  # asking for it would load it
        patch.delattr(recd_client, "genesis")
    if modules is None:
        patch.setitem(sys.modules, "genesis", None)  # type: ignore[arg-type]
        return
    for name, module in modules.items():
        patch.setitem(sys.modules, name, module)
