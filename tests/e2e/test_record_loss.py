"""When there is no room: what is lost is counted by cause and told, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recd_client import CSVFile, DataLossWarning, FlushTimeout, HDF5File, NPZFile, Recorder
from recordings import csv_numbers, npz, proved, stopped, worker_of
from support import wait_until

pytestmark = pytest.mark.usefixtures("shared_runtime")

SAMPLE = np.zeros(32)  # a record of 320 bytes
SMALL = 16_000


def sample(i: int) -> np.ndarray:
    """A sample that tells its number."""
    return np.full(32, float(i))


def test_what_finds_no_room_is_counted_and_leaves_a_gap(tmp_path: Path) -> None:
    """With the worker stopped a small ring fills up: the manifest names each gap, the times show it."""
    kept = []
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream(
            "s", NPZFile("s.npz"), CSVFile("s.csv"), HDF5File("s.h5"), like=SAMPLE, buffer_bytes=SMALL
        )
        at = 0
        for _ in range(2):  # two gaps, with samples between
            with stopped(worker_of(rec)):
                for _ in range(200):
                    kept += [at] if stream.write(sample(at), t=at * 0.5) else []
                    at += 1
            rec.flush()
            kept += [at] if stream.write(sample(at), t=at * 0.5) else []
            at += 1
        stats = stream.stats
        with pytest.warns(DataLossWarning, match=r"stream 's': \d+ of 402 samples \(full \d+\)"):
            summary = rec.close()

    lost = at - len(kept)
    assert lost > 200
    assert stats["lost"]["full"] == lost
    assert stats["written"] == len(kept)
    assert summary.lost_total == summary["s"].lost_total == lost
    told = proved(tmp_path)["streams"]["s"]
    assert (told["attempted"], told["samples"], told["lost"]) == (402, len(kept), {"full": lost})
    gone = sorted({*range(at)} - {*kept})
    assert [s for gap in told["gaps"] for s in range(gap["first_seq"], gap["last_seq"] + 1)] == gone
    for gap in told["gaps"]:
        assert gap["cause"] == "full"
        assert (gap["t_first"], gap["t_last"]) == (gap["first_seq"] * 0.5, gap["last_seq"] * 0.5)
        assert gap["bytes"] == gap["count"] * SAMPLE.nbytes
    arrays = npz(tmp_path / "s.npz")
    np.testing.assert_array_equal(arrays["data"][:, 0], kept)
    np.testing.assert_array_equal(arrays["timestamp"], np.array(kept) * 0.5)
    np.testing.assert_array_equal(csv_numbers(tmp_path / "s.csv")[:, 1], kept)


def test_a_loss_at_the_very_end_is_told_too(tmp_path: Path) -> None:
    """Losses behind the last sample that found room stand in the manifest with their numbers and times."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", NPZFile("s.npz"), like=SAMPLE, buffer_bytes=SMALL)
        with stopped(worker_of(rec)):
            kept = sum(stream.write(sample(i), t=float(i)) for i in range(100))
            stream.close()
        with pytest.warns(DataLossWarning):
            rec.close()
    (gap,) = proved(tmp_path)["streams"]["s"]["gaps"]
    assert (gap["first_seq"], gap["last_seq"], gap["count"]) == (kept, 99, 100 - kept)
    assert (gap["t_first"], gap["t_last"]) == (kept, 99.0)


def test_block_waits_for_room(tmp_path: Path) -> None:
    """With ``overflow="block"`` a ring of some records takes thousands of samples without a loss."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", NPZFile("s.npz"), like=SAMPLE, buffer_bytes=SMALL, overflow="block")
        assert all(stream.write(sample(i), t=float(i)) for i in range(5000))
    assert proved(tmp_path)["streams"]["s"]["lost"] == {}
    np.testing.assert_array_equal(npz(tmp_path / "s.npz")["data"][:, 0], np.arange(5000))


def test_block_gives_up_after_its_timeout(tmp_path: Path) -> None:
    """While nobody makes room, a write returns False after the timeout: lost, cause ``timeout``."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream(
            "s", NPZFile("s.npz"), like=SAMPLE, buffer_bytes=SMALL, overflow="block", timeout=0.02
        )
        with stopped(worker_of(rec)):
            kept = 0
            while stream.write(sample(kept), t=float(kept)):
                kept += 1
            assert not stream.write(sample(-1), t=-1.0)
            assert not stream.write(sample(-1), t=-1.0)
            assert stream.stats["blocked_s"] >= 0.06
            assert stream.stats["lost"]["timeout"] == 3
        rec.flush()
        assert stream.write(sample(kept), t=float(kept))
        with pytest.warns(DataLossWarning, match="timeout 3"):
            rec.close()
    np.testing.assert_array_equal(npz(tmp_path / "s.npz")["data"][:, 0], np.arange(kept + 1))
    (gap,) = proved(tmp_path)["streams"]["s"]["gaps"]
    assert (gap["cause"], gap["count"]) == ("timeout", 3)


def test_pull_form_waits_as_long_as_its_option_says(tmp_path: Path) -> None:
    """``buffer_full_wait_time`` 0 drops at once, more blocks that long and then drops; both are told."""
    with Recorder(dir=tmp_path, dt=0.01) as rec:
        drops = rec.start_recording(
            lambda: SAMPLE, NPZFile("drops.npz", buffer_size=40, buffer_full_wait_time=0)
        )
        waits = rec.start_recording(
            lambda: SAMPLE, NPZFile("waits.npz", buffer_size=50, buffer_full_wait_time=0.01)
        )
        rec.step()
        with stopped(worker_of(rec)):
            for _ in range(60):
                rec.step()
            assert drops.stats["blocked_s"] == 0
            assert drops.stats["lost"]["full"] > 0
            assert waits.stats["lost"]["timeout"] > 0
        with pytest.warns(DataLossWarning):
            rec.close()
    streams = proved(tmp_path)["streams"]
    assert streams["drops"]["samples"] >= 40
    assert streams["waits"]["samples"] >= 50


def test_a_claim_without_room_is_counted(tmp_path: Path) -> None:
    """The block gets memory that is thrown away, and the loss is counted as one of a write."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", NPZFile("s.npz"), like=SAMPLE, buffer_bytes=SMALL)
        with stopped(worker_of(rec)):
            for i in range(100):
                with stream.claim(t=float(i)) as place:
                    place[:] = i
        lost = stream.stats["lost"]["full"]
        with pytest.warns(DataLossWarning):
            rec.close()
    told = proved(tmp_path)["streams"]["s"]
    assert told["lost"] == {"full": lost}
    np.testing.assert_array_equal(npz(tmp_path / "s.npz")["data"][:, 0], np.arange(100 - lost))


def test_a_spool_limit_stalls_the_stream_and_says_so(tmp_path: Path) -> None:
    """A log that may not grow keeps what it has, the rest is lost and counted; the file is complete without."""
    with Recorder(dir=tmp_path, spool_limit="200kB") as rec:
        stream = rec.stream("s", NPZFile("s.npz"), like=SAMPLE, buffer_bytes=SMALL)
        kept, at = [], 0
        while stream.stats["state"] != "stalled" or len(kept) == at:
            kept += [at] if stream.write(sample(at), t=float(at)) else []
            at += 1
        assert stream.stats["reason"] == "spool_limit of 200000 bytes reached"
        assert stream.stats["spooled_bytes"] < 300_000
        with pytest.warns(DataLossWarning):
            rec.close()
    told = proved(tmp_path)["streams"]["s"]
    assert (told["samples"], told["lost"]) == (len(kept), {"full": at - len(kept)})
    assert npz(tmp_path / "s.npz")["data"][:, 0].tolist() == kept


# --- what is safe when ----------------------------------------------------------------------------


def test_flush_returns_when_the_rows_can_be_read(tmp_path: Path) -> None:
    """After each flush the CSV that is still open has exactly the rows that were written."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", CSVFile("s.csv"))
        for i in range(1, 61):
            stream.write({"a": i, "b": i / 3}, t=float(i))
            if i % 20 == 0:
                rec.flush(durable=i == 40)
                assert not (tmp_path / "s.csv").exists()
                rows = csv_numbers(tmp_path / "s.part.csv")
                np.testing.assert_array_equal(rows, [[k, k, k / 3] for k in range(1, i + 1)])
    assert not (tmp_path / "s.part.csv").exists()


def test_flush_raises_when_time_is_up(tmp_path: Path) -> None:
    """With the worker stopped, a flush with a timeout raises FlushTimeout; the recording goes on."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", CSVFile("s.csv"), like=0.0)
        with stopped(worker_of(rec)):
            stream.write(1.0, t=0.0)
            with pytest.raises(FlushTimeout, match="not everything"):
                rec.flush(timeout=0.05)
        rec.flush()
        stream.write(2.0, t=1.0)
    assert csv_numbers(tmp_path / "s.csv").tolist() == [[0, 1], [1, 2]]


@pytest.mark.parametrize("sink", [CSVFile("s.csv", async_mode=False), NPZFile("s.npz", async_mode=False)])
def test_without_async_mode_a_write_waits_for_its_sink(tmp_path: Path, sink: CSVFile | NPZFile) -> None:
    """After each write or claim the sink has taken the sample: a CSV's row can be read."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", sink, like=0.0)
        for i in range(15):
            if i % 2:
                assert stream.write(float(i), t=float(i))
            else:
                with stream.claim(t=float(i)) as place:
                    place[...] = i
            if isinstance(sink, CSVFile):
                assert len(csv_numbers(tmp_path / "s.part.csv")) == i + 1
    proved(tmp_path)


def test_without_async_mode_a_write_waits_no_longer_than_the_timeout(tmp_path: Path) -> None:
    """With the worker stopped the write returns after the stream's timeout; the sample is not lost."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", CSVFile("s.csv", async_mode=False), like=0.0, timeout=0.05)
        with stopped(worker_of(rec)):
            assert stream.write(1.0, t=0.0)
        assert stream.write(2.0, t=1.0)
    assert csv_numbers(tmp_path / "s.csv").tolist() == [[0, 1], [1, 2]]


@pytest.mark.parametrize("durability", ["process", "interval", "strict"])
def test_every_durability_records_the_same(tmp_path: Path, durability: str) -> None:
    """All samples become durable by themselves, the counters say so, and the files are the same."""
    with Recorder(dir=tmp_path, durability=durability) as rec:
        stream = rec.stream("s", NPZFile("s.npz"), CSVFile("s.csv"))
        for i in range(500):
            assert stream.write(sample(i), t=float(i))
        wait_until(lambda: stream.stats["durable"] == 500)
        assert stream.stats["buffered_bytes"] == 0
        rec.flush(durable=True)
    manifest = proved(tmp_path)
    assert manifest["durability"] == durability
    np.testing.assert_array_equal(npz(tmp_path / "s.npz")["data"][:, 0], np.arange(500))
