"""The native core under the sanitizers: both ends at full speed, its copies, its checksum."""

from __future__ import annotations

import os
import subprocess
import zlib
from pathlib import Path

import pytest
from compiling import NATIVE, WATCHED, compiled, mutant

pytestmark = pytest.mark.requires("gcc")

ATTEMPTS = 20_000
#: For a program that hangs; no promise about speed.
HANGS_S = 300.0
#: Payload bytes (-1: any), and what happens when there is no room.
WAYS = [("-1", "drop"), ("-1", "wait"), ("40", "wait"), ("100", "drop")]
#: gcc warns that it does not see fences; the orders that matter are those of the words.
THREADS = ("-fsanitize=thread", "-Wno-tsan")


def ran(program: Path, *arguments: object, under: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """The program, to its end, wherever memory lies (older ThreadSanitizers know some places only)."""
    command = [*under, str(program), *map(str, arguments)]
    env = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=HANGS_S)
    if "unexpected memory mapping" in done.stderr:
        done = subprocess.run(
            ["setarch", "-R", *command], capture_output=True, text=True, env=env, timeout=HANGS_S
        )
    return done


def stress(program: Path, how: str, way: tuple[str, str], seed: int, under: tuple[str, ...] = ()) -> None:
    """Both ends over a ring of 16 KiB; an error for anything that is not as it must be."""
    done = ran(program, how, 1 << 14, ATTEMPTS, *way, seed, under=under)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "read" in done.stdout


@pytest.mark.parametrize("capacity", [1 << 14, 64 * 1013])
def test_two_threads_do_not_race(tmp_path: Path, capacity: int) -> None:
    """ThreadSanitizer sees an order of the ring's words behind every access to its bytes, from either side."""
    program = compiled("ring_stress.c", tmp_path, *THREADS)
    for seed, way in enumerate(WAYS):
        done = ran(program, "threads", capacity, ATTEMPTS, *way, seed)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.mark.parametrize("name", ["head relaxed", "free_pos relaxed"])
def test_a_missing_order_is_a_race(name: str, tmp_path: Path) -> None:
    """Without one release or acquire ThreadSanitizer reports a race: the test above is not empty."""
    program = compiled("ring_stress.c", tmp_path, *THREADS, headers=mutant(name, tmp_path))
    done = ran(program, "threads", 1 << 14, ATTEMPTS, "-1", "wait", 1)
    assert "data race" in done.stderr


@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_two_processes_agree_on_every_byte(way: tuple[str, str], tmp_path: Path) -> None:
    """Over shared memory everything arrives whole, in order, or is told as lost; nothing is touched beyond it."""
    program = compiled("ring_stress.c", tmp_path, *WATCHED)
    for seed in range(3):
        stress(program, "processes", way, seed)


def test_a_record_behind_the_memory_is_noticed(tmp_path: Path) -> None:
    """A producer that writes a loss behind the end of its lap fails: the test above is not empty."""
    program = compiled("ring_stress.c", tmp_path, *WATCHED, headers=mutant("a loss behind the lap", tmp_path))
    assert any(ran(program, "processes", 1 << 14, ATTEMPTS, *way, 1).returncode for way in WAYS)


@pytest.mark.requires("valgrind")
def test_valgrind_finds_nothing_in_two_processes(tmp_path: Path) -> None:
    """No byte that was never written is read, on either side."""
    program = compiled("ring_stress.c", tmp_path)
    under = ("valgrind", "--quiet", "--error-exitcode=9", "--trace-children=yes")
    done = ran(program, "processes", 1 << 14, 2000, "-1", "wait", 3, under=under)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_strided_copies_are_what_a_plain_loop_copies(tmp_path: Path) -> None:
    """Any shape, stride and size of element, forward and backward, to the byte, and not one byte beyond."""
    program = compiled("copy_check.c", tmp_path, *WATCHED)
    done = ran(program, 30_000, 1)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_the_checksum_of_a_header_is_zlibs(tmp_path: Path) -> None:
    """Of zeros, ones, single bits and chance."""
    program = compiled("crc_check.c", tmp_path, *WATCHED)
    bits = [bytes(64), b"\xff" * 64, *((1 << bit).to_bytes(64, "little") for bit in range(512))]
    headers = [*bits, *(os.urandom(64) for _ in range(500))]
    done = subprocess.run([program], input=b"".join(headers), capture_output=True)
    assert done.returncode == 0
    assert [int(line) for line in done.stdout.split()] == [zlib.crc32(header[4:]) for header in headers]


def test_the_core_compiles_without_a_warning(tmp_path: Path) -> None:
    """Also with every warning that the compiler has for conversions of pointers and shadowed names."""
    strict = ("-Wpointer-arith", "-Wshadow", "-Wvla", "-Wundef", "-O3")
    compiled("ring_stress.c", tmp_path, *strict)
    assert (NATIVE / "ring.h").is_file()
