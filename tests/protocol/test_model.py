"""The model of the ring's protocol holds in every interleaving, and each way of breaking the protocol is found.

``ring.pml`` says what is modelled and what is proved. Spin turns it into a program that visits every state.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

MODEL = Path(__file__).with_name("ring.pml")
#: Every state is kept (compressed, not hashed); more memory than this is a failure, not a smaller search.
BUILD = ["gcc", "-w", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=2000", "-o", "pan", "pan.c"]
DEPTH = 100_000

pytestmark = pytest.mark.requires("spin", "gcc")


def search(directory: Path, defines: str, optimised: str = "-O0") -> str:
    """The first thing that goes wrong in the model so defined, "" if nothing does in any of its states.

    Optimising takes gcc a second or two, which only a search of millions of states gives back.
    """
    flags = [f"-D{name}" for name in defines.split()]
    subprocess.run(["spin", "-a", *flags, MODEL], cwd=directory, check=True)
    subprocess.run([*BUILD, optimised], cwd=directory, check=True)
    program = [directory / "pan", f"-m{DEPTH}"]
    report = subprocess.run(program, cwd=directory, check=True, capture_output=True, text=True).stdout
    assert re.search(r"^Full statespace search", report, re.M), report
    wrong = re.search(r"^pan:\d+: (?:assertion violated +!\((\w+)\)|(.*?))(?: \(at depth.*)?$", report, re.M)
    if wrong:
        return wrong[1] or wrong[2]
    assert re.search(r"errors: 0$", report, re.M), report
    for sign in ("Search not completed", "search depth too small", "memory limit"):
        assert sign not in report, report
    return ""


@pytest.mark.parametrize(
    "question",
    [
        "RECORDS SAMPLES=4",
        "TAP SAMPLES=4",
        "TAP SAMPLES=3 INTENT_GOES_BACK TAP_MARGIN",
        "WAKE SAMPLES=3",
        "WAKE SAMPLES=2 BOUNDED NO_PRODUCER_FENCE NO_CONSUMER_FENCE",
    ],
)
def test_the_protocol_holds(question: str, tmp_path: Path) -> None:
    """No record is lost or torn, no tap is deceived, no wake-up is lost beyond the bounded sleep.

    In the weaker of the two memories, where all that can happen in the other can happen too.
    """
    assert search(tmp_path, f"{question} PSO", "-O1") == ""


@pytest.mark.parametrize(
    ("mutant", "found"),
    [
        ("TAP SAMPLES=3 INTENT_LATE", "torn_copy"),
        ("TAP SAMPLES=3 INTENT_GOES_BACK", "torn_copy"),
        ("TAP SAMPLES=3 TAP_NOT_CHECKED", "torn_copy"),
        ("RECORDS SAMPLES=3 INTENT_LATE", "unannounced"),
        ("RECORDS SAMPLES=3 HEAD_EARLY", "no_record"),
        ("RECORDS SAMPLES=3 NEXT_SEQ_LATE", "unaccounted"),
        ("RECORDS SAMPLES=3 FREE_EARLY", "impossible_head"),
        ("RECORDS SAMPLES=3 FREE_UNSAFE", "impossible_head"),
        ("RECORDS SAMPLES=5 FREE_PADDING", "impossible_head"),
        ("WAKE SAMPLES=3 NOT_RECHECKED", "never_woken"),
        ("WAKE SAMPLES=3 NO_PRODUCER_FENCE", "never_woken"),
        ("WAKE SAMPLES=3 NO_CONSUMER_FENCE", "never_woken"),
        ("WAKE SAMPLES=3 DOORBELL_EARLY", "never_woken"),
    ],
)
def test_a_broken_protocol_is_found_even_on_x86(mutant: str, found: str, tmp_path: Path) -> None:
    """Steps in the wrong order, or left out, break the ring although stores become visible in order."""
    assert search(tmp_path, f"{mutant} TSO") == found


@pytest.mark.parametrize(
    ("mutant", "found"),
    [
        ("TAP SAMPLES=3 NO_INTENT_FENCE", "torn_copy"),
        ("TAP SAMPLES=3 TAP_NOT_FENCED", "torn_copy"),
        ("RECORDS SAMPLES=3 HEAD_NOT_RELEASED", "no_record"),
        ("RECORDS SAMPLES=3 HEAD_NOT_ACQUIRED", "torn"),
    ],
)
def test_a_missing_fence_is_found_where_memory_is_weak(mutant: str, found: str, tmp_path: Path) -> None:
    """Without one of its fences the ring breaks where stores, or loads, overtake each other."""
    assert search(tmp_path, f"{mutant} PSO") == found


@pytest.mark.parametrize("mutant", ["TAP SAMPLES=3 NO_INTENT_FENCE", "RECORDS SAMPLES=3 HEAD_NOT_RELEASED"])
def test_x86_needs_no_fence_between_stores(mutant: str, tmp_path: Path) -> None:
    """What the pure-Python ring relies upon: where stores stay in order, the fences between them may go."""
    assert search(tmp_path, f"{mutant} TSO") == ""
