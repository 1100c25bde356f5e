"""The extension itself under AddressSanitizer and UndefinedBehaviorSanitizer, below the tests of the ring."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from compiling import ROOT, WATCHED, extension, mutant

pytestmark = pytest.mark.requires("gcc", "native")

#: What AddressSanitizer ends a process with.
FOUND = 99

#: Tests, and which of them: all that C takes part in, for several processes.
TESTS = [
    (("ring", "ring_losses", "ring_damage"), "native"),
    (("writers_agree", "writer", "claim", "overflow"), "native"),
    (("records",), "native and (both_provers or run)"),
]


def outcome_of(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """These tests with the package in that directory; malloc for all of Python, so that every block has its guards."""
    library = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    )
    env = {
        **os.environ,
        "LD_PRELOAD": library.stdout.strip(),
        "ASAN_OPTIONS": f"detect_leaks=0:abort_on_error=0:exitcode={FOUND}",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": os.pathsep.join([str(package), str(ROOT), str(ROOT / "tests")]),
        "RECD_BACKEND": "native",
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "--capture=sys",
        "-p",
        "no:cacheprovider",
        *arguments,
    ]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)


def package(into: Path, **options: Path) -> Path:
    """The client with a watched extension."""
    ignore = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "client/recd_client", into / "recd_client", ignore=ignore)
    extension(into / "recd_client", *WATCHED, **options)
    return into


@pytest.mark.parametrize(("names", "which"), TESTS, ids=[names[0] for names, _ in TESTS])
def test_nothing_is_touched_that_must_not_be(names: tuple[str, ...], which: str, watched: Path) -> None:
    """No byte beyond an array or the ring, nothing that was freed, no undefined arithmetic, in all that is tested."""
    done = outcome_of(watched, *(f"tests/unit/test_{name}.py" for name in names), "-k", which)
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
    assert "runtime error" not in done.stderr


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A client whose extension is watched, built once."""
    return package(tmp_path_factory.mktemp("watched"))


def test_a_byte_too_far_is_noticed(tmp_path: Path) -> None:
    """With a producer that writes a loss behind the memory, a test ends in a report: the ones above are not empty."""
    (tmp_path / "package").mkdir()
    wrong = package(tmp_path / "package", sources=mutant("a loss behind the lap", tmp_path))
    done = outcome_of(wrong, "tests/unit/test_ring_losses.py", "-k", "native-python and filled_its_lap")
    assert done.returncode == FOUND
    assert "AddressSanitizer" in done.stderr
