"""Fixtures of the unit tests: a daemon that only answers, a recorder connected to it, files closed behind deaths."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends import Backend
from fake_daemon import FakeDaemon
from recd_client import DataLossWarning, Recorder, attachment
from syscall_faults import closed_behind


@pytest.fixture(autouse=True)
def _closed_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a test's dead had open does not stay open in the process of the tests."""
    with closed_behind(tmp_path_factory.getbasetemp()):
        yield


@pytest.fixture
def daemon(runtime: Path, tmp_path: Path) -> Iterator[FakeDaemon]:
    """A daemon of this test's own; rings are real, and drained by the test alone."""
    daemon = FakeDaemon(runtime, tmp_path / "out")
    yield daemon
    daemon.close()


@pytest.fixture
def rec(daemon: FakeDaemon) -> Iterator[Recorder]:
    """An open recorder without ``dt``; closed afterwards unless the test did that."""
    recorder = Recorder("test", autostart=False)
    yield recorder
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataLossWarning)  # of losses that the test brought about
        recorder.close(timeout=5)


@pytest.fixture
def each_writer(each: Backend, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """The recorder's streams write through this backend, once through each."""
    for name in ("RingProducer", "Writer", "Gate"):
        monkeypatch.setattr(attachment, name, getattr(each, name))
    return each
