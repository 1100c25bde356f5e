"""The language of conditions: as numpy would have it, vectorised; what is not in it is refused."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recd.alerts.condition import Condition
from recd.alerts.sight import Sight, zeros
from recd.batch import Batch
from recd_client.errors import OptionError
from recd_client.schema import RAGGED, Field, Schema

SCHEMA = Schema(
    (
        Field("q", "<f8", (3,)),
        Field("m", "<f4", (2, 3)),
        Field("n", "<i4"),
        Field("on", "|b1"),
        Field("px", "|u1", (4,)),
        Field("left arm", "<f8"),
        Field("hits", "<f8", (3,), RAGGED),
    )
)


def batch_of(count: int, seed: int = 0) -> Batch:
    """Samples with a NaN here and there."""
    random = np.random.default_rng(seed)
    q = random.normal(size=(count, 3))
    q[random.random(q.shape) < 0.1] = np.nan
    columns: dict[str, Any] = {
        "q": q,
        "m": random.normal(size=(count, 2, 3)).astype(np.float32),
        "n": random.integers(-5, 5, count, dtype=np.int32),
        "on": random.random(count) < 0.5,
        "px": random.integers(0, 256, (count, 4), dtype=np.uint8),
        "left arm": random.normal(size=count),
    }
    seq = np.arange(count, dtype=np.uint64)
    return Batch(SCHEMA, seq, seq / 8, seq.astype(np.int64) * 2, seq * np.uint64(1_000_000), columns)


def truth(text: str, batch: Batch) -> np.ndarray[Any, Any]:
    """Whether the condition holds, for each sample."""
    return np.broadcast_to(Condition(text).truth(Sight(batch, {}, 0)), (len(batch),))


# --- against numpy, one sample at a time -------------------------------------------------------------

NAMES = {
    "any": np.any, "all": np.all, "min": np.min, "max": np.max, "mean": np.mean, "abs": np.abs,
    "norm": lambda v: np.sqrt(np.sum(np.square(v))), "nan": lambda v: bool(np.isnan(v).any()),
}  # fmt: skip

leaves = st.sampled_from(
    ["s.q[0]", "s.q[-1]", "s.n", "s.px[2]", "s.m[1, 2]", "s.t", "s.step", "0.5", "2", "-1", 's["left arm"]']
)
arrays = st.sampled_from(
    ["s.q", "s.m", "s.px", "s.q[0:2]", "s.m[:, 1]", "s.m[0]", "s.px[::2]", "abs(s.q)", "s.q * 2"]
)
reduced = st.builds(lambda f, a: f"{f}({a})", st.sampled_from(["min", "max", "mean", "norm"]), arrays)
numbers = st.recursive(
    leaves | reduced,
    lambda inner: (
        st.builds(
            lambda a, op, b: f"({a} {op} {b})", inner, st.sampled_from(["+", "-", "*", "/", "%", "//"]), inner
        )
        | st.builds(lambda a: f"abs({a})", inner)
        | st.builds(lambda a: f"(-{a})", inner)
    ),
    max_leaves=4,
)
compared = st.builds(
    lambda a, op, b: f"({a} {op} {b})", numbers, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), numbers
)
truths = st.recursive(
    compared
    | st.builds(lambda f, a, n: f"{f}({a} > {n})", st.sampled_from(["any", "all"]), arrays, numbers)
    | st.builds(lambda a: f"nan({a})", arrays)
    | st.just("s.on"),
    lambda inner: (
        st.builds(lambda a, op, b: f"({a} {op} {b})", inner, st.sampled_from(["and", "or"]), inner)
        | st.builds(lambda a: f"(not {a})", inner)
    ),
    max_leaves=4,
).filter(lambda text: ("s." in text or "s[" in text) and len(text) <= 400)


class Sample:
    """One sample as plain numpy code sees it: float64, and truths."""

    def __init__(self, batch: Batch, i: int) -> None:
        values = {n: c[i] for n, c in batch.columns.items() if isinstance(c, np.ndarray)}
        values |= {"t": batch.t[i], "step": batch.step[i]}
        self._values = {n: v if v.dtype == bool else v.astype(np.float64) for n, v in values.items()}

    def __getattr__(self, name: str) -> Any:
        return self._values[name]

    __getitem__ = __getattr__


@settings(max_examples=300, deadline=None)
@given(text=truths, seed=st.integers(0, 5))
def test_a_condition_holds_where_numpy_says_so(text: str, seed: int) -> None:
    """All samples at once, and each on its own by numpy: the same truths."""
    batch = batch_of(7, seed)
    expected = []
    for i in range(len(batch)):
        try:
            with np.errstate(all="ignore"):
                expected.append(bool(eval(text, {"s": Sample(batch, i), **NAMES})))
        except ZeroDivisionError:  # Python's own, of two numbers that stand there
            return
    assert truth(text, batch).tolist() == expected


# --- what it is and is not ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("abs(s.q).max() > 1", "max(abs(s.q)) > 1"),
        ("nan(s)", "nan(s.q) or nan(s.m)"),
        ("0 < s.n < 3", "0 < s.n and s.n < 3"),
        ('"s".n > 0', "s.n > 0"),
        ('s["n"] > 0', "s.n > 0"),
        ("any(s.q[..., 0:2] > s.q[1])", "s.q[0] > s.q[1]"),
        ("max(s.m + s.q) > 2", "max(s.m + s.q[:]) > 2"),
    ],
)
def test_two_ways_to_say_the_same(one: str, other: str) -> None:
    """A method is a function, a chain is an "and", a name may stand in quotes."""
    batch = batch_of(50)
    assert truth(one, batch).tolist() == truth(other, batch).tolist()
    assert 0 < truth(one, batch).sum() < 50


def test_nothing_overflows() -> None:
    """Small integers are numbers like any others: 255 + 1 is 256, and 0 - 1 below 0."""
    batch = batch_of(50)
    pixels = np.asarray(batch.columns["px"])[:, 0].astype(int)
    assert truth("s.px[0] - 200 < 0", batch).tolist() == (pixels < 200).tolist()
    assert truth("s.px[0] * 300 >= 0", batch).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a text"),
        ("1 < 2", "nothing that is recorded"),
        ("a.x < b.x", "samples of 'a' and of 'b'"),
        ("s.n + 'x' > 1", "samples of"),
        ("s.q @ s.q > 1", "'s.q @ s.q' is not part"),
        ("s.n in s.q", "'s.n in s.q' is not part"),
        ("s.n if s.on else s.n", "is not part"),
        ("(lambda: s.n)()", "is no function"),
        ("[s.n] > 1", "'[s.n]' is not part"),
        ("s.n.__class__()", "'s.n.__class__' is no function"),
        ("f'{s.n}' > 1", "is not part"),
        ("s.n > True", "'True' is no number"),
        ("s.n > 1j", "'1j' is no number"),
        ("s.n > 1" + "0" * 350, "is too large"),
        ("~s.n > 1", "'~s.n' is not part"),
        ("max(s.q, 3) > 1", "has 2 arguments"),
        ("max(s.q, key=1) > 1", "no value"),
        ("max(*s.q) > 1", "no value"),
        ("stalled(s.q)", "expected stalled"),
        ("stalled(s, -1)", "is not understood"),
        ("stalled(s, 0)", "waits for 0 s"),
        ("stalled(s, 1e9)", "waits for"),
        ("lost(s, 3)", "expected lost"),
        ("s.q[s.n] > 1", "'s.n' is no index"),
        ("s.q[1.5] > 1", "'1.5' is no index"),
        ("(s.q + 1).x > 1", "which is no stream"),
        ("-" * 100 + "s.n > 1", "nested deeper"),
        ("(" * 250 + "s.n" + ")" * 100, "condition"),
        ("s.n > 1; import os", "invalid syntax"),
        ("x := 3", "condition"),
        ("s.n" + " > 1" * 200, "at most 400"),
        ("s.n > \0", "condition"),
    ],
)
def test_what_is_not_in_the_language_is_refused_by_name(text: str, words: str) -> None:
    """The error is recd's own, and names the piece."""
    with pytest.raises(OptionError) as caught:
        Condition(text)
    assert words in str(caught.value)
    assert caught.value.do


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("s > 1", "7 fields"),
        ("s.z > 1", "no field 'z'"),
        ("s.q > 1", "3 values"),
        ("s.n", "is a number"),
        ("s.n and s.on", "'s.n': is a number, no truth"),
        ("s.q[3] > 1", "shape (3,)"),
        ("s.q[0, 0] > 1", "shape (3,)"),
        ("any(s.q > s.px)", "do not go together"),
        ("max(s.q[3:]) > 1", "no elements"),
        ("s.hits > 1", "varies in length"),
    ],
)
def test_what_does_not_fit_the_stream_is_known_before_its_first_sample(text: str, words: str) -> None:
    """The schema is enough; the error names the piece and what is there."""
    with pytest.raises(OptionError) as caught:
        Condition(text).truth(Sight(zeros(SCHEMA), {}, 0))
    assert words in caught.value.what


@given(text=st.text(max_size=60) | st.text(alphabet="sqn.()[]<>=+-*/ 0123'\"andornot,:", max_size=40))
def test_any_text_is_a_condition_or_an_option_error(text: str) -> None:
    """Nothing else is ever raised, for whatever somebody types."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Python's parser
        try:
            found = Condition(text)
            found.truth(Sight(zeros(SCHEMA), {}, 0))
        except OptionError:
            pass


def test_what_is_told_of_a_sample() -> None:
    """The value that is compared, and what else is looked at; NaN and infinities as text."""
    batch = batch_of(1)
    np.asarray(batch.columns["q"])[0] = [0.25, math.nan, math.inf]
    sight = Sight(batch, {}, 0)
    condition = Condition("s.q[0] < 0.5 or s.q[1] > 2")
    assert condition.measured(sight) == 0.25
    assert condition.seen(sight) == {"s.q[0]": 0.25, "s.q[1]": "nan"}
    assert Condition("any(s.q > 1)").measured(sight) == [0.25, "nan", "inf"]
    assert Condition("nan(s)").measured(sight) is True
