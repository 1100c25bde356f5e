"""The writer in C beside the writer in Python: the same calls leave the same bytes, answers and errors."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import Backend, backend
from recd_client import arrays, layout, native
from recd_client.clock import Clock
from recd_client.errors import ClosedError, ReentrantWriteError, SchemaError
from recd_client.sample import infer, make_plan
from rings import MIN_CAPACITY, new_memory, parse

pytestmark = pytest.mark.requires("native")

Call = Callable[["Side"], object]
#: What is leaked once per call shows as so many.
REPEATS = 200


class Side:
    """A writer of one backend, on a ring of its own."""

    def __init__(self, each: Backend, like: Any, dt: float | None = None, hz: float | None = None) -> None:
        self.memory = new_memory(2 * MIN_CAPACITY)
        self.rings = 0
        self.on_bell: Callable[[], object] = lambda: None
        self.producer = each.RingProducer(self.memory, self._ring)
        self.consumer = each.RingConsumer(self.memory)
        plan = make_plan(infer(like), np.frombuffer(self.memory, np.uint8), 2 * MIN_CAPACITY)
        self.clock = Clock(dt)
        gate = each.Gate(hz, dt) if hz else None
        self.writer = each.Writer("s", self.producer, plan, self.clock, gate=gate)

    def _ring(self) -> None:
        self.rings += 1
        self.on_bell()

    def outcome(self, call: Call) -> tuple[object, ...]:
        """What the call gave or raised, and what it left behind: all but the time of day."""
        try:
            result: object = call(self)
        except Exception as e:
            result = (type(e), str(e))
        state = (self.clock.last_t, self.clock.last_step, self.writer._calls, self.writer._state)
        return repr(result), repr(state), self.rings, self.writer.payload_bytes_total, self.image()

    def image(self) -> bytes:
        """The segment with times blanked: of records, of losses, of waits."""
        image = bytearray(self.memory)
        head, at = self.producer.head, max(self.consumer.free_position, 0)
        size = 2 * MIN_CAPACITY
        for position in _records(memoryview(image)[layout.DATA_OFFSET :], at, head, size):
            header = np.frombuffer(image, layout.HEADER_DTYPE, 1, layout.DATA_OFFSET + position % size)
            header["mono_ns"] = header["crc"] = 0
            if self.clock.dt is None or header["type"] == layout.LOSS:
                header["t"] = 0
            if header["type"] in (layout.LOSS, layout.CLOSE):
                prefix = layout.CLOSE_PREFIX.size if header["type"] == layout.CLOSE else 0
                entries = layout.DATA_OFFSET + position % size + layout.HEADER_BYTES + prefix
                _blank_losses(image, entries, int(header["length"][0]) - prefix)
        # what lies beyond the records is what was never published
        begin, end = head % size, head % size + at + size - head
        for first, behind in ((begin, min(end, size)), (0, max(end - size, 0))):
            image[layout.DATA_OFFSET + first : layout.DATA_OFFSET + behind] = bytes(behind - first)
        for name in ("blocked_ns", "rung_ticket"):
            image[layout.PRODUCER[name] : layout.PRODUCER[name] + 8] = bytes(8)
        return bytes(image)


def _records(data: memoryview, position: int, head: int, size: int) -> list[int]:
    found = []
    while position < head:
        left = min(head - position, size - position % size)
        region = data[position % size : position % size + left]
        found += [r.position for r in parse(region, position)]
        position += left
    return found


def _blank_losses(image: bytearray, begin: int, length: int) -> None:
    for entry in range(begin, begin + length, layout.LOSS_ENTRY.size):
        values = list(layout.LOSS_ENTRY.unpack_from(image, entry))
        layout.LOSS_ENTRY.pack_into(image, entry, *values[:5], 0.0, 0.0, 0, 0)


def sides(like: Any, **options: Any) -> tuple[Side, Side]:
    """One of each backend."""
    return Side(backend("python"), like, **options), Side(backend("native"), like, **options)


# --- values ------------------------------------------------------------------------------------------------


class Keyed(dict):  # type: ignore[type-arg]
    """A dict of a user's own, which may mean something by its items."""

    def __getitem__(self, key: str) -> Any:
        return super().__getitem__(key) * 2


class Incomparable(str):
    """A key that is like another one until they are compared."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("cannot be compared")


class Unreadable:
    """An array until it is asked for."""

    dtype = np.dtype("f8")

    def __array__(self, *_: object, **__: object) -> Any:
        raise RuntimeError("no data today")


FLOATS = np.arange(12.0).reshape(3, 4)
READ_ONLY = FLOATS.copy()
READ_ONLY.flags.writeable = False
#: What may be written where (3, 4) float64 is expected, and what may not.
BARE = [
    FLOATS,
    READ_ONLY,
    FLOATS[::-1],
    FLOATS[:, ::-1],
    np.asfortranarray(FLOATS),
    np.broadcast_to(np.float64(3), (3, 4)),
    np.arange(48.0).reshape(6, 8)[::2, ::-2],
    np.frombuffer(bytes(1 + 96), np.uint8)[1:].view("f8").reshape(3, 4),
    FLOATS.astype(">f8"),
    FLOATS.astype("f4"),
    FLOATS.astype(object),
    FLOATS.tolist(),
    FLOATS.view(np.matrix),
    np.ma.masked_array(FLOATS, FLOATS > 3),
    np.zeros((4, 3)),
    np.zeros(12),
    np.zeros((3, 4, 1)),
    np.zeros(()),
    np.zeros((0, 4)),
    FLOATS.astype(complex),
    Unreadable(),
    None,
    "text",
    {"data": FLOATS},
    {},
    3.0,
]
#: The same for {"x": float64 ()}, {"n": int64 ()}, {"b": bool ()}.
NUMBERS = [
    0.5,
    -0.0,
    float("nan"),
    3,
    2**63 - 1,
    -(2**63) + 1,
    -(2**63),
    2**63,
    10**400,
    True,
    np.float64(2.5),
    np.float32(2.5),
    np.int64(7),
    np.int32(-7),
    np.uint64(2**63),
    np.bool_(True),
    np.array(1.5),
    np.array(4),
    np.array(True),
    np.zeros(1),
    None,
    "7",
    1j,
]
TIMES = [
    None,
    0.5,
    -1.0,
    float("nan"),
    float("inf"),
    7,
    True,
    np.float64(3.25),
    np.float32(0.5),
    "1.5",
    "x",
    [],
    2**70,
]
STEPS = [None, 0, 5, -1, True, np.int64(9), np.uint8(3), 2**63 - 1, -(2**63), 2**64, 1.5, "2"]


def agree(calls: list[Call], like: Any, **options: Any) -> None:
    """Each call has the same outcome on both sides."""
    python, native_side = sides(like, **options)
    for call in calls:
        assert python.outcome(call) == native_side.outcome(call)


@pytest.mark.parametrize("value", BARE, ids=lambda v: f"{type(v).__name__}-{getattr(v, 'dtype', '')}")
def test_any_value_for_an_array_has_the_same_outcome(value: Any) -> None:
    """Layouts, subclasses, other dtypes and shapes, and what is no array: copied, converted or refused alike."""
    agree([lambda s, v=v: s.writer.write(v) for v in (FLOATS, value, FLOATS, value)], FLOATS)  # type: ignore[misc]


@pytest.mark.parametrize("like", [0.5, 3, True], ids=["float", "int", "bool"])
def test_any_number_has_the_same_outcome(like: Any) -> None:
    """In a field without dimensions too, and beside others in a dict."""
    agree([lambda s, v=v: s.writer.write(v) for v in [like, *NUMBERS]], like)  # type: ignore[misc]
    rest = {"q": np.arange(3.0)}
    agree(
        [lambda s, v=v: s.writer.write({"x": v, **rest}) for v in [like, *NUMBERS]],  # type: ignore[misc]
        {"x": like, **rest},
    )


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (1, 0, 2)])
def test_an_empty_array_has_the_same_outcome(shape: tuple[int, ...]) -> None:
    """Nothing to copy is a sample as well, however it lies in memory."""
    empty = np.zeros(shape)
    agree([lambda s: s.writer.write(empty), lambda s: s.writer.write(empty[::-1])], empty)


def test_any_dict_has_the_same_outcome() -> None:
    """Other orders, missing, extra and foreign keys, subclasses, keys that fail."""
    sample = {"größe": np.arange(4.0), "b": np.zeros((2, 2), "u1"), "c": 1.5}
    backwards = dict(reversed(sample.items()))
    built = {"".join(list(key)): value for key, value in sample.items()}  # keys that are not interned
    without = {k: v for k, v in sample.items() if k != "b"}
    samples: list[Any] = [
        sample, backwards, built, without, {**sample, "d": 1}, {**without, "d": 1}, {**without, 3: 1},
        {**without, Incomparable("b"): sample["b"]}, Keyed(sample), list(sample.values()), {**sample, "c": "x"},
        {**sample, "b": Unreadable()}, {**sample, "b": sample["b"].T[::-1]}, sample,
    ]  # fmt: skip
    agree([lambda s, v=v: s.writer.write(v) for v in samples], sample)  # type: ignore[misc]


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
def test_any_number_of_fields_has_the_same_outcome(count: int) -> None:
    """Also more than C looks at by itself."""
    sample = {f"f{i}": float(i) for i in range(count)}
    agree(3 * [lambda s: s.writer.write(sample)], sample)


@pytest.mark.parametrize("dt", [None, 0.25])
def test_any_time_and_step_has_the_same_outcome(dt: float | None) -> None:
    """By position or name, numbers of any kind, and what is none."""
    calls: list[Call] = [lambda s: s.writer.write(1.0)]
    for t in TIMES:
        calls += [lambda s, t=t: s.writer.write(2.0, t), lambda s, t=t: s.writer.write(2.0, t=t, step=4)]  # type: ignore[misc]
    for step in STEPS:
        calls += [
            lambda s, n=step: s.writer.write(3.0, 0.5, n),
            lambda s, n=step: s.writer.write(3.0, step=n),
        ]  # type: ignore[misc]
    calls += [lambda s: s.writer.write(data=5.0, step=1), lambda s: s.writer.write(step=1, t=2.0, data=5.0)]
    calls += [lambda s: setattr(s.clock, "step", 12), lambda s: s.writer.write(1.0)]
    agree(calls, 0.0, dt=dt)


@pytest.mark.parametrize("arguments", [(), (1.0, 2.0, 3, 4)])
def test_wrong_arguments_are_type_errors(each: Backend, arguments: tuple[Any, ...]) -> None:
    """A call that Python refuses is refused in C: too few, too many, unknown, twice."""
    writer: Any = Side(each, 0.0).writer
    for named in ({}, {"time": 1}, {"data": 1.0, "t": 1, "steps": 1}):
        with pytest.raises(TypeError):
            writer.write(*arguments, **named)
    with pytest.raises(TypeError):
        writer.write(1.0, data=1.0)
    with pytest.raises(TypeError):
        writer.write(1.0, 2.0, t=2.0)
    with pytest.raises(TypeError):
        writer.claim(1.0, t=1.0)
    assert writer.write(1.0)


# --- sequences ---------------------------------------------------------------------------------------------

LIKE = {"q": np.zeros(9), "n": 0, "image": np.zeros((4, 6, 3), np.uint8)}
IMAGES = [LIKE["image"], np.ones((4, 12, 3), np.uint8)[:, ::-2], np.full((4, 6, 4), 7, np.uint8)[..., :3]]


def claim(side: Side, t: Any, step: Any, fail: bool) -> None:
    """A record filled in place."""
    with side.writer.claim(t, step=step) as place:
        place["q"][:] = 4
        place["n"][...] = 2
        place["image"][...] = 1
        if fail:
            raise ZeroDivisionError


def drain(side: Side) -> None:
    """The consumer has everything."""
    side.consumer.free(side.producer.head)


def sleep(side: Side) -> None:
    """The consumer sleeps."""
    side.consumer.announce_sleep()


acts = st.one_of(
    st.builds(
        lambda n, i, q, t, step, times: (
            times * [lambda s: s.writer.write({"q": np.full(9, q), "n": n, "image": IMAGES[i]}, t, step)]
        ),
        st.integers(-(2**64), 2**64),
        st.integers(0, 2),
        st.floats(allow_nan=False),
        st.sampled_from(TIMES),
        st.sampled_from(STEPS),
        st.sampled_from([1, 1, 10, 80]),
    ),
    st.builds(
        lambda t, step, fail: [lambda s: claim(s, t, step, fail)],
        st.sampled_from(TIMES),
        st.sampled_from(STEPS),
        st.booleans(),
    ),
    st.builds(lambda paused: [lambda s: s.writer.set_paused(paused)], st.booleans()),
    st.builds(lambda step: [lambda s: setattr(s.clock, "step", step)], st.integers(0, 10**6)),
    st.builds(lambda n: [lambda s: s.writer.mark("m" * n, {}, 1.0, 2, 0)], st.integers(0, 900)),
    st.sampled_from([drain, sleep, lambda s: s.writer.restart_gate(), lambda s: s.writer.skip(2)]).map(
        lambda f: [f]
    ),
)


@settings(deadline=None, max_examples=100)
@given(
    scenes=st.lists(acts, max_size=25),
    dt=st.none() | st.just(0.125),
    hz=st.none() | st.sampled_from([1.0, 3.0, 8.0]),
    closed=st.booleans(),
)
def test_any_sequence_of_calls_leaves_the_same_ring(
    scenes: list[list[Call]], dt: float | None, hz: float | None, closed: bool
) -> None:
    """Samples, claims, pauses, marks, a consumer that drains or sleeps: answers, errors and bytes are the same."""
    if dt is None and hz is not None:  # then the time of day decides what is due
        scenes = [[lambda s: s.writer.set_paused(False)]]
    calls = [call for scene in scenes for call in scene]
    if closed:
        calls += [lambda s: s.writer.close(1.0, 2, 3), lambda s: s.writer.write(LIKE)]
        calls += [lambda s: claim(s, 1.0, 1, False)]
    agree(calls, LIKE, dt=dt, hz=hz)


# --- what calls out of C -----------------------------------------------------------------------------------


class Host:
    """An array of another library, whose numpy view comes from a function."""

    def __init__(self, view: Callable[[], Any]) -> None:
        self.view = view

    def __array__(self, *_: object, **__: object) -> Any:
        return np.ones(3)


class Asked(Host):
    """The same, whose view is what every backend gets."""

    def __array__(self, *_: object, **__: object) -> Any:
        return self.view()


@pytest.fixture
def hosted(monkeypatch: pytest.MonkeyPatch) -> None:
    """C knows how to look at a :class:`Host`."""
    for kind in (Host, Asked):
        monkeypatch.setitem(native.extension.HOSTS, kind, lambda host: host.view())


def fails(error: type[BaseException]) -> Callable[[], Any]:
    """A function that raises."""

    def fail() -> Any:
        raise error

    return fail


@pytest.mark.usefixtures("hosted")
@pytest.mark.parametrize(
    "view", [lambda: None, lambda: 5, lambda: np.zeros(4), lambda: [1], fails(ValueError)]
)
def test_a_view_that_is_not_to_be_had_is_asked_for_otherwise(view: Callable[[], Any]) -> None:
    """Whatever another library answers or raises, the sample takes the long way, and arrives."""
    side = Side(backend("native"), np.zeros(3))
    for _ in range(3):
        assert side.writer.write(Host(view))
    assert side.producer.next_seq == 3


@pytest.mark.usefixtures("hosted")
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_while_a_sample_is_looked_at_is_a_loss(each: Backend, error: type[BaseException]) -> None:
    """What is no ordinary error reaches the caller; the sample counts as lost, with its time, by either backend."""
    side = Side(each, {"a": np.zeros(3), "b": np.zeros(3)})
    side.writer.write({"a": np.zeros(3), "b": np.zeros(3)})
    with pytest.raises(error):
        side.writer.write({"a": np.zeros(3), "b": Asked(fails(error))}, 7.5)
    assert side.writer.write({"a": np.zeros(3), "b": Asked(lambda: np.ones(3))})
    assert side.producer.next_seq == 3
    assert {c: n for c, n in side.producer.lost().items() if n} == {"interrupted": 1}


@pytest.mark.usefixtures("hosted")
def test_a_write_below_a_conversion_is_refused(each: Backend) -> None:
    """A signal handler that writes while a sample of another library is converted hears that it may not."""
    side = Side(each, {"a": np.zeros(3), "b": np.zeros(3)})
    heard: list[BaseException] = []

    def interrupted() -> Any:
        try:
            side.writer.write({"a": np.ones(3), "b": np.ones(3)})
        except ReentrantWriteError as e:
            heard.append(e)
        return np.zeros(3)

    assert side.writer.write({"a": np.zeros(3), "b": Asked(interrupted)})
    assert heard
    assert side.writer.write({"a": np.zeros(3), "b": np.zeros(3)})
    assert (side.producer.next_seq, sum(side.producer.lost().values())) == (2, 0)


@pytest.mark.usefixtures("hosted")
def test_a_sample_may_change_while_it_is_looked_at() -> None:
    """A dict that loses its values in the middle of the call is refused or written, and nothing is freed too early."""
    like = {"a": np.zeros(3), "b": np.zeros(3)}
    side = Side(backend("native"), like)
    side.writer.write(like)
    for _ in range(50):
        sample: dict[str, Any] = {}

        def view(sample: dict[str, Any] = sample) -> Any:
            sample.clear()
            sample.update((str(i), i) for i in range(40))
            return np.ones(3)

        sample.update(a=Host(view), b=np.zeros(3))
        with pytest.raises(SchemaError):
            side.writer.write(sample)
    assert side.writer.write(like)


def test_a_doorbell_that_fails_has_been_rung_behind_the_sample(each: Backend) -> None:
    """Its error reaches the caller; the sample is published, once, and the ring goes on."""
    side = Side(each, np.zeros(3))
    side.writer.write(np.zeros(3))
    for number, error in ((2, OSError), (4, KeyboardInterrupt)):
        side.on_bell = fails(error)
        side.consumer.announce_sleep()
        with pytest.raises(error):
            side.writer.write(np.zeros(3))
        assert (side.producer.next_seq, sum(side.producer.lost().values())) == (number, 0)
        with pytest.raises(error), side.writer.claim() as place:  # noqa: PT012  - nothing in it raises
            place[:] = 1
            side.consumer.announce_sleep()
        side.on_bell = lambda: None
        side.producer.resync()
    assert side.writer.write(np.zeros(3))


def test_a_signal_handler_below_a_native_claim_is_refused() -> None:
    """A write that interrupts a claim of its own stream is an error, and the claim goes on."""
    side, caught = Side(backend("native"), np.zeros(3)), []
    side.writer.write(np.zeros(3))

    def handler(*_: object) -> None:
        with pytest.raises(ReentrantWriteError) as refused:
            side.writer.write(np.zeros(3))
        caught.append(refused.value)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with side.writer.claim() as place:
            signal.raise_signal(signal.SIGUSR1)
            place[:] = 2
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert (len(caught), side.producer.next_seq) == (1, 2)


# --- memory ------------------------------------------------------------------------------------------------


def test_a_claim_that_is_dropped_gives_its_place_back(each: Backend) -> None:
    """Entered by hand and forgotten, it takes no number, and the next writer need not wait."""
    side = Side(each, np.zeros(3))
    side.writer.write(np.zeros(3))
    claimed = side.writer.claim()
    claimed.__enter__()
    del claimed
    assert side.writer.write(np.ones(3))
    assert side.producer.next_seq == 2


def test_a_native_claim_is_left_with_three_arguments() -> None:
    """Anything else is a mistake of the caller's, and no crash."""
    side = Side(backend("native"), np.zeros(3))
    side.writer.write(np.zeros(3))
    claimed: Any = side.writer.claim()
    claimed.__enter__()
    with pytest.raises(IndexError):
        claimed.__exit__()
    with pytest.raises(RuntimeError, match="once"):
        claimed.__enter__()
    claimed.__exit__(None, None, None)
    assert side.producer.next_seq == 2


@pytest.mark.parametrize("way", [slice(None), slice(None, None, -1)], ids=["as it lies", "backwards"])
@pytest.mark.parametrize("shift", range(0, 1000, 64))
def test_an_array_of_the_ring_may_be_written_into_it(each: Backend, way: slice, shift: int) -> None:
    """A kept claim that overlaps the place of the new sample is copied as if it did not."""
    side = Side(each, np.zeros(200))
    kept = np.frombuffer(side.memory, "f8", 200, layout.DATA_OFFSET + layout.HEADER_BYTES + shift)
    side.writer.write(np.arange(200.0))
    while side.producer.head % (2 * MIN_CAPACITY):  # round, to the beginning
        side.producer.publish(64, side.producer.reserve(64) * 0, 0.0, 0, 0)
        drain(side)
    side.writer.mark("the first", {}, 0.0, 0, 0)
    kept[:] = np.arange(200.0)
    side.writer.write(kept[way])
    place = side.producer.head - 64 * 26 + layout.HEADER_BYTES
    got = np.frombuffer(side.memory, "f8", 200, layout.DATA_OFFSET + place % (2 * MIN_CAPACITY))
    np.testing.assert_array_equal(got, np.arange(200.0)[way])


def test_nothing_is_referred_to_longer_than_the_call(each: Backend) -> None:
    """Arrays, dtypes, keys, numbers and None have as many references as before, whatever happened to a sample."""
    array, strided, bad, time = np.zeros(50), np.zeros((50, 2))[:, 1], np.zeros(3), 1234.5
    sample = {"key of mine": array, "other": strided}
    side = Side(each, sample)
    writer: Any = side.writer
    watched = [
        array,
        strided,
        bad,
        time,
        array.dtype,
        sample,
        "key of mine",
        None,
        writer,
        side.clock,
        side.producer,
    ]

    def all_ways() -> None:
        for _ in range(REPEATS):
            writer.write(sample, time)
            writer.write(sample, step=7)
            for wrong in (bad, {**sample, "other": bad}, {"key of mine": array}):
                with pytest.raises(SchemaError):
                    writer.write(wrong)
            with writer.claim(time) as place:
                place["other"][:] = 1
            with pytest.raises(ZeroDivisionError), writer.claim(t=time, step=3):
                raise ZeroDivisionError
            drain(side)

    all_ways()
    gc.collect()
    blocks, counts = sys.getallocatedblocks(), [sys.getrefcount(o) for o in watched]
    all_ways()
    gc.collect()
    grown = [sys.getrefcount(o) - n for o, n in zip(watched, counts, strict=True)]
    assert max(grown) < REPEATS // 2
    assert sys.getallocatedblocks() - blocks < REPEATS


def test_a_released_ring_is_no_crash(each: Backend) -> None:
    """Every call on a producer, a consumer or a writer that was let go of is an error."""
    side = Side(each, np.zeros(3))
    side.writer.write(np.zeros(3))
    side.writer.close(0.0, 0, 0)
    side.writer.release()
    side.consumer.release()
    with pytest.raises(ClosedError):
        side.writer.write(np.zeros(3))
    p, c = side.producer, side.consumer
    calls: list[Callable[[], object]] = [
        lambda: p.reserve(64), lambda: p.publish(64, 0, 0.0, 0, 0), p.abort, p.resync, p.ring_doorbell,
        lambda: p.lose("full", 0, 0.0, 0), lambda: p.mark("x", {}, 0.0, 0, 0), lambda: p.close(0.0, 0, 0),
        lambda: p.recover(0, 0, 0.0, 0), p.lost, c.head, c.has_news, c.announce_sleep, lambda: c.free(0),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises((ValueError, TypeError), match=r"released|not memoryview"):
            call()
    p.release()
    c.release()


def test_hosts_are_of_the_libraries_themselves() -> None:
    """A user's subclass, which may mean something else, never gets a shortcut."""
    assert all(kind.__module__.partition(".")[0] in ("torch", "jaxlib") for kind in native.extension.HOSTS)
    assert set(arrays._HOSTS) <= set(arrays._DOORS.values())
