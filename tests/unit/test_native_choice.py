"""Which backend a process uses, and when the one in C is not believed."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recd_client import native


def said(code: str, **environment: str) -> tuple[int, str]:
    """How a fresh interpreter ended, and what it said."""
    env = {k: v for k, v in os.environ.items() if k != "RECD_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**env, **environment}
    )
    return done.returncode, (done.stdout + done.stderr).strip()


BACKEND = "import recd_client; print(recd_client.BACKEND)"


@pytest.mark.requires("native")
def test_the_native_ring_is_used_where_it_was_built() -> None:
    """Unset, RECD_BACKEND means the best there is; set, it is obeyed."""
    assert said(BACKEND) == (0, "native")
    assert said(BACKEND, RECD_BACKEND="native") == (0, "native")
    assert said(BACKEND, RECD_BACKEND="python") == (0, "python")


def test_an_unknown_backend_is_refused() -> None:
    """The error says what may be said."""
    code, text = said(BACKEND, RECD_BACKEND="rust")
    assert code != 0
    assert "RECD_BACKEND='rust': expected native or python" in text


def test_a_backend_that_was_asked_for_and_is_not_there_is_an_error() -> None:
    """Whoever relies on the native ring is told at once, and how to get it."""
    without = "import sys; sys.modules['recd_client._ring'] = None; " + BACKEND
    code, text = said(without, RECD_BACKEND="native")
    assert code != 0
    assert "it was not built" in text
    assert "C compiler" in text
    assert said(without) == (0, "python")


@pytest.fixture
def lying(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An extension that says of itself what the test wants."""
    real = native.extension
    stand_in = SimpleNamespace(LAYOUT=dict(real.LAYOUT), describe=real.describe)
    monkeypatch.setattr(native, "extension", stand_in)
    return stand_in


@pytest.mark.requires("native")
def test_an_extension_that_agrees_is_believed(lying: Any) -> None:
    """What is compared holds for the extension as it was built."""
    assert native._disagreement() == ""


@pytest.mark.requires("native")
@pytest.mark.parametrize(
    "name",
    [
        "head",
        "HEADER_BYTES",
        "lost_full_count",
        "sleep_ticket",
        "CLOSE",
        "LOSS_ENTRY_BYTES",
        "CLOSE_PREFIX_BYTES",
    ],
)
def test_an_extension_of_another_layout_is_not_believed(lying: Any, name: str) -> None:
    """One number that differs is enough, and is named."""
    lying.LAYOUT[name] += 8
    assert native._disagreement() == f"it was built for another layout of the ring ({name})"


@pytest.mark.requires("native")
def test_an_extension_that_knows_more_is_not_believed(lying: Any) -> None:
    """A name that this package does not have comes from another version."""
    lying.LAYOUT["one_more_word"] = 0
    assert "one_more_word" in native._disagreement()


@pytest.mark.requires("native")
@pytest.mark.parametrize("place", range(5), ids=["address", "shape", "strides", "dtype", "contiguous"])
def test_an_extension_that_reads_arrays_wrongly_is_not_believed(lying: Any, place: int) -> None:
    """If numpy moved anything in its arrays, C stays away from them."""
    right = lying.describe

    def describe(array: Any) -> tuple[Any, ...]:
        answer = list(right(array))
        answer[place] = object()
        return tuple(answer)

    lying.describe = describe
    assert f"numpy {np.__version__} lays out its arrays in another way" in native._disagreement()


@pytest.mark.requires("native")
def test_what_is_no_array_is_not_described() -> None:
    """The look into an array's head is for arrays alone."""
    for value in (None, [1.0], np.float64(3), np.ma.masked_array([1.0])):
        with pytest.raises(TypeError, match="not a numpy array"):
            native.extension.describe(value)


@pytest.mark.requires("native")
def test_every_word_that_the_extension_uses_is_compared() -> None:
    """The list of numbers is not shorter than what the producer writes."""
    used = {
        "head",
        "intent_end",
        "next_seq",
        "rung_ticket",
        "producer_state",
        "skipped",
        "marks_lost",
        "blocked_ns",
    }
    assert used | {"free_pos", "sleep_ticket"} <= native.extension.LAYOUT.keys()


AGAIN = """
import sys
import recd_client
from recd_client import native
first = native.extension
del sys.modules["recd_client._ring"], recd_client._ring
from recd_client import _ring as again
assert again is not first
assert all(getattr(again, n) is getattr(first, n) for n in ("Writer", "RingProducer", "Times", "Gate", "HOSTS"))
"""


@pytest.mark.requires("native")
def test_an_extension_that_is_imported_again_is_the_same() -> None:
    """What was made of its types before goes on fitting them: a purge of modules breaks no recorder."""
    assert said(AGAIN) == (0, "")


ELSEWHERE = """
import sys
from recd_client import native
if sys.version_info >= (3, 13):
    import _interpreters as interpreters
    other = interpreters.create("legacy")
else:
    import _xxsubinterpreters as interpreters
    other = interpreters.create(isolated=False)
code = f'''
import importlib.machinery, importlib.util, sys, types
numpy = sys.modules["numpy"] = types.ModuleType("numpy")  # the real one refuses before
numpy.ndarray = numpy.float64 = object
loader = importlib.machinery.ExtensionFileLoader("recd_client._ring", {native.extension.__file__!r})
spec = importlib.util.spec_from_loader("recd_client._ring", loader)
try:
    loader.exec_module(importlib.util.module_from_spec(spec))
except ImportError as e:
    print(e, flush=True)
else:
    print("imported", flush=True)
'''
interpreters.run_string(other, code)
"""


@pytest.mark.requires("native")
def test_an_extension_is_not_shared_with_another_interpreter_of_the_process() -> None:
    """It would replace the types under the first one's feet; the error says why it does not."""
    assert said(ELSEWHERE) == (0, "another interpreter of this process uses recd_client._ring")
