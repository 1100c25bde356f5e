"""The native producer, killed before any store to the ring: the same demands as on the one in Python."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from compiling import HERE, NATIVE, extension, mutant

from backends import Backend, Ends, backend
from killed_ring import (
    ACTS,
    SITUATIONS,
    Act,
    Images,
    Scene,
    for_each_act,
    fresh,
    in_each_situation,
)
from recd_client import native
from recd_client.sample import infer, make_plan
from rings import MIN_CAPACITY

pytestmark = pytest.mark.requires("gcc", "native")

CALLBACK = ctypes.CFUNCTYPE(None)


class Stepping:
    """The native backend of this tree, built so that it calls back before each of its stores."""

    def __init__(self, directory: Path, sources: Path = NATIVE) -> None:
        path = str(extension(directory, "-include", str(HERE / "stepping.h"), sources=sources))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(native, "extension", _loaded("recd_client._ring", path))
            self.Clock: Any = _again("clock").Clock
            self.RingProducer: Any = _again("ring_native").NativeRingProducer
            self.Writer: Any = _again("writer_native").NativeWriter
        self._on_store = ctypes.c_void_p.in_dll(ctypes.CDLL(path), "on_store")

    def run(self, act: Callable[[], object], look: Callable[[], None]) -> int:
        """Call ``look`` before each store of ``act``; how many there were."""
        stores = 0

        def on_store() -> None:
            nonlocal stores
            stores += 1
            look()

        callback = CALLBACK(on_store)
        self._on_store.value = ctypes.cast(callback, ctypes.c_void_p).value
        try:
            act()
        finally:
            self._on_store.value = None
        look()
        return stores


def _loaded(name: str, path: str) -> ModuleType:
    loader = ExtensionFileLoader(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def _again(name: str) -> ModuleType:
    """A second instance of a module of the client, which nobody else sees."""
    found = importlib.util.find_spec(f"recd_client.{name}")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stepping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stepping]:
    """The instrumented backend, built once."""
    before = sys.modules.get("recd_client._ring")
    yield Stepping(tmp_path_factory.mktemp("stepping"))
    assert sys.modules.get("recd_client._ring") is before


@in_each_situation
@for_each_act
def test_a_kill_before_any_store_leaves_whole_records_and_every_attempt_accounted_for(
    situation: Act, act: Act, stepping: Stepping, each: Backend
) -> None:
    """Killed anywhere in C, the producer leaves what either backend's consumer can read."""
    check(situation, act, stepping, each)


def check(situation: Act, act: Act, stepping: Stepping, each: Backend) -> None:
    """A kill before any store of the act leaves what it may."""
    scene = Scene(Ends(stepping.RingProducer, each.RingConsumer))
    situation(scene)
    images = Images(scene, each.RingConsumer)
    stores = stepping.run(lambda: act(scene), images.look)
    assert len(images.found) - 1 <= stores  # no store went unseen
    images.check()


@pytest.mark.parametrize("name", ["head before the header", "head before the number", "not announced"])
def test_a_wrong_order_of_stores_is_noticed(name: str, tmp_path: Path) -> None:
    """A producer with one mistake in its order fails: the demands above are not empty."""
    stepping, python = Stepping(tmp_path, mutant(name, tmp_path)), backend("python")
    caught = 0
    for situation in SITUATIONS:
        for act in ACTS:
            try:
                check(situation, act, stepping, python)
            except (AssertionError, ValueError):
                caught += 1
    assert caught


SAMPLES = {
    "bare": np.arange(50.0),
    "strided": np.arange(100.0)[::-2],
    "dict": {"q": np.arange(12.0), "n": 3, "ok": True, "image": np.zeros((4, 6, 3), np.uint8)[:, ::-1]},
}


@in_each_situation
@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("how", ["write", "claim", "claim and fail"])
def test_a_kill_before_any_store_of_a_native_write_leaves_the_same(
    situation: Act, name: str, how: str, stepping: Stepping, each: Backend
) -> None:
    """The writer's own way into the ring, and a claim's, keep to the protocol as well."""
    scene = Scene(Ends(stepping.RingProducer, each.RingConsumer))
    situation(scene)
    sample, schema = SAMPLES[name], infer(SAMPLES[name])
    plan = make_plan(schema, np.frombuffer(scene.memory, np.uint8), MIN_CAPACITY)
    writer = stepping.Writer("s", scene.producer, plan, stepping.Clock(None))
    writer.write(sample)  # from the second on, C does it alone
    if situation is fresh:
        writer.write_any = writer.claim_any = None

    def claim() -> None:
        with writer.claim() as place:
            for field in place.values() if isinstance(place, dict) else [place]:
                field[...] = 7
            if how != "claim":
                raise KeyboardInterrupt

    def act() -> None:
        if how == "write":
            writer.write(sample)
            return
        try:
            claim()
        except KeyboardInterrupt:
            return

    images = Images(scene, each.RingConsumer)
    stores = stepping.run(act, images.look)
    assert len(images.found) - 1 <= stores
    images.check()
