"""Flushing, counting, closing."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recd_client
from fake_daemon import FakeDaemon
from recd_client import (
    BACKEND,
    CSVFile,
    DataLossWarning,
    NPZFile,
    NullSink,
    Recorder,
    __version__,
    forks,
    layout,
)
from recd_client.errors import (
    ClosedError,
    FlushTimeout,
    OptionError,
)


def test_flush_says_how_far(rec: Recorder, daemon: FakeDaemon) -> None:
    """The daemon is told each ring's end, in slices, until it is done."""
    answers = iter([{"done": False, "progress": 1}, {"done": True, "progress": 2}])
    daemon.answers["flush"] = lambda request: next(answers)
    rec.flush()
    assert not daemon.asked("flush")
    rec.log("a", 1.0)
    rec.flush(durable=True, timeout=20)
    told = daemon.asked("flush")
    assert [t["heads"] for t in told] == [{"a": layout.record_bytes(8)}] * 2
    assert all(t["durable"] and t["timeout_s"] <= 1 for t in told)


def test_a_flush_that_takes_too_long_says_what_is_behind(rec: Recorder, daemon: FakeDaemon) -> None:
    """The daemon goes on; the error names the streams that still have samples in memory."""
    daemon.answers["flush"] = lambda request: {"done": False, "progress": 0}
    rec.log("a", 1.0)
    with pytest.raises(FlushTimeout, match="'a'"):
        rec.flush(timeout=0.1)


def test_a_new_daemon_takes_over_where_the_old_one_died(rec: Recorder, daemon: FakeDaemon) -> None:
    """The session is resumed on the new connection, and the question asked again."""
    rec.log("a", 1.0)
    daemon.die()
    daemon.start()
    rec.flush(timeout=20)
    assert [r["op"] for r in daemon.requests[-3:]] == ["hello", "resume", "flush"]
    rec.log("b", 1.0)


def test_stats_need_no_daemon(rec: Recorder, daemon: FakeDaemon) -> None:
    """Counters and the worker's state come from shared memory."""
    rec.log("a", np.zeros(4))
    rec.log("a", np.zeros(4))
    rec.stream("idle")
    asked = len(daemon.requests)
    consumer = daemon.rings["a"].consumer
    daemon.rings["a"].take()
    consumer.set_word("durable_seq", 1)
    consumer.set_word("spooled_bytes", 96)
    stats = rec.stats()
    expected = {"attempted": 2, "written": 2, "durable": 1, "skipped": 0, "bytes": 64, "buffered_bytes": 0}
    assert {k: stats["a"][k] for k in expected} == expected
    assert (stats["a"]["spooled_bytes"], stats["a"]["state"], stats["idle"]["state"]) == (
        96,
        "recording",
        "waiting",
    )
    assert set(stats["a"]) == set(stats["idle"])
    consumer.set_word("consumer_state", layout.CONSUMER_STALLED)
    consumer.set_error("disk full")
    assert (rec.stats()["a"]["state"], rec.stats()["a"]["reason"]) == ("stalled", "disk full")
    assert len(daemon.requests) == asked


def test_close_ends_every_stream_and_tells_what_came_of_it(daemon: FakeDaemon) -> None:
    """The daemon's numbers and files, streams without a sample included; calling it again changes nothing."""
    manifest = str(daemon.directory / "manifest.json")
    told = {
        "attempted": 2,
        "written": 2,
        "durable": 2,
        "skipped": 0,
        "lost": {},
        "bytes": 16,
        "state": "finished",
    }
    daemon.answers["close"] = lambda request: {
        "done": True, "progress": 1,
        "summary": {"streams": {"a": {**told, "reason": "", "files": ["/x/a.npz"], "future": 1}},
                    "manifest": manifest, "complete": True},
    }  # fmt: skip
    with Recorder(autostart=False) as rec:
        rec.log("a", 1.0)
        rec.log("a", 1.0)
        rec.stream("never", CSVFile("never.csv"))
    summary = rec.close()
    assert summary is rec.close(timeout=1)
    assert (summary.complete, str(summary.manifest)) == (True, manifest)
    assert (summary["a"].durable, summary["a"].files, summary["a"].state) == (
        2,
        (Path("/x/a.npz"),),
        "finished",
    )
    assert (summary["never"].attempted, summary["never"].files) == (0, ())
    assert summary.files == [Path("/x/a.npz")]
    assert "a: 2 samples -> a.npz" in str(summary)
    assert daemon.rings["a"].take()[1][-1].kind == layout.CLOSE
    assert len(daemon.asked("close")) == 1
    for use in (lambda: rec.log("a", 1.0), lambda: rec.log("new", 1.0), rec.step, rec.flush, rec.reset):
        with pytest.raises(ClosedError):
            use()


def test_close_waits_no_longer_than_asked(rec: Recorder, daemon: FakeDaemon) -> None:
    """Past the timeout the summary says so, with what the client knows; the daemon finishes alone."""
    daemon.answers["close"] = lambda request: {"done": False, "progress": 0, "summary": None}
    rec.stream("a", NPZFile("a.npz")).write(1.0)
    summary = rec.close(timeout=0)
    assert not summary.complete
    assert "daemon finishes alone" in summary.reason
    assert (summary["a"].written, summary["a"].files) == (1, (rec.directory / "a.npz",))


def test_close_without_a_daemon_ends_too(rec: Recorder, daemon: FakeDaemon) -> None:
    """A daemon that is gone, and may not be started, leaves an incomplete summary and no exception."""
    rec.log("a", 1.0)
    daemon.die()
    summary = rec.close(timeout=0.05)
    assert not summary.complete
    daemon.start()


def test_any_loss_is_a_warning_at_the_end(daemon: FakeDaemon) -> None:
    """It names the stream, how many, and why."""
    rec = Recorder(autostart=False)
    stream = rec.stream("a", like=np.zeros(1000), buffer_bytes=1 << 16)
    while stream.write(np.zeros(1000)):
        pass
    with pytest.warns(DataLossWarning, match=r"'a': 1 of \d+ samples \(full 1\)"):
        summary = rec.close()
    assert summary.lost_total == 1


def test_an_exception_in_the_block_still_closes(daemon: FakeDaemon) -> None:
    """Ctrl-C in the simulation's loop finishes the files like a normal end."""

    def simulate() -> None:
        with Recorder(autostart=False) as rec:
            rec.log("a", 1.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate()
    assert len(daemon.asked("close")) == 1


def test_an_interrupted_close_can_be_called_again(rec: Recorder, daemon: FakeDaemon) -> None:
    """Ctrl-C while waiting for the files ends the wait; the next close goes on with it."""
    rec.log("a", 1.0)
    main = threading.main_thread().ident

    def interrupt(request: dict[str, Any]) -> dict[str, Any]:
        import signal

        del daemon.answers["close"]
        signal.pthread_kill(main, signal.SIGINT)  # type: ignore[arg-type]
        return {"done": False, "progress": 0}

    daemon.answers["close"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        rec.close()
    assert rec.close().complete
    assert [e.kind for e in daemon.rings["a"].take()[1]] == [layout.CLOSE]


def test_what_a_program_leaves_open_is_closed_at_its_end(daemon: FakeDaemon) -> None:
    """All recorders together have a few seconds; closed ones are not touched again."""
    first, second = Recorder("a", autostart=False), Recorder("b", autostart=False)
    first.close()
    forks._at_exit()
    assert len(daemon.asked("close")) == 2
    assert second.close().complete


def test_handles_stay_in_their_process(rec: Recorder) -> None:
    """Sending a recorder or a stream to another process is refused with what to do instead."""
    for handle in (rec, rec.stream("a")):
        with pytest.raises(OptionError, match="cannot be sent"):
            pickle.dumps(handle)


def test_importing_is_light() -> None:
    """Importing the package loads numpy and light parts of the standard library, and says what it is."""
    code = (
        "import sys, numpy; before = set(sys.modules); from recd_client import *\n"
        "new = set(sys.modules) - before\n"
        "print(*sorted(m for m in new if m.split('.')[0] not in ('recd_client', 'numpy')))"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(recd_client.__file__).parents[1])}
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=env)
    heavy = {"asyncio", "click", "fractions", "h5py", "logging", "multiprocessing", "recd", "rich", "shutil",
             "socket", "ssl", "subprocess", "tempfile"}  # fmt: skip
    assert not set(loaded.stdout.split()) & heavy
    assert BACKEND in ("native", "python")
    assert __version__ == "0.1.0"


def test_every_public_name_is_there() -> None:
    """Names that are loaded on demand are found, listed, and no others are invented."""
    for name in recd_client.__all__:
        assert getattr(recd_client, name) is not None
        assert name in dir(recd_client)
    with pytest.raises(AttributeError, match="Recoder"):
        recd_client.Recoder  # noqa: B018  - the attribute is what is looked at


def test_losses_are_the_only_warning_of_a_good_run(daemon: FakeDaemon) -> None:
    """A run without a fault warns of nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Recorder(dt=0.1, autostart=False) as rec:
            rec.stream("s", NullSink()).write(1.0)
            rec.log("x", 2.0)
