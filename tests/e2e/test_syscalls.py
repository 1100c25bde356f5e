"""The hot path, as the kernel sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recordings import PATIENCE_S

WRITES = 100_000
#: What the interpreter itself may do meanwhile: memory, threads of other libraries.
ALLOWED = 20

SCRIPT = """
import os, signal, sys
import numpy as np
from recd_client import CSVFile, Recorder

rec = Recorder(dir=sys.argv[1], dt=0.001)
stream = rec.stream("s", CSVFile("s.csv"), like=np.zeros(50))
sample = np.arange(50.0)
stream.write(sample)
rec.flush()
worker = stream.ring.writer.producer.word("worker_pid")
if sys.argv[2] == "stopped":
    os.kill(worker, signal.SIGSTOP)
write = stream.write
os.write(2, b"<begin>")
for _ in range(int(sys.argv[3])):
    write(sample)
os.write(2, b"<end>")
os.kill(worker, signal.SIGCONT)
summary = rec.close()
s = summary.streams["s"]
assert s.attempted == int(sys.argv[3]) + 1 == s.durable + sum(s.lost.values())
"""


@pytest.mark.requires("strace")
def test_writing_makes_no_system_call_while_the_daemon_stands_still(runtime: Path, tmp_path: Path) -> None:
    """100,000 writes, with room and then without, while the worker is stopped: not one system call each thousand."""
    trace = tmp_path / "trace"
    command = [
        "strace",
        "-o",
        str(trace),
        "--",
        sys.executable,
        "-c",
        SCRIPT,
        str(tmp_path / "run"),
        "stopped",
    ]
    done = subprocess.run(
        [*command, str(WRITES)], capture_output=True, text=True, timeout=PATIENCE_S, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr
    lines = trace.read_text().splitlines()
    begin = next(i for i, line in enumerate(lines) if "<begin>" in line)
    end = next(i for i, line in enumerate(lines) if "<end>" in line)
    between = [line for line in lines[begin + 1 : end] if not line.startswith(("---", "+++"))]
    assert len(between) <= ALLOWED, between[:50]
