"""Control messages: what is framed comes back, and nothing that a peer sends does harm."""

from __future__ import annotations

import json
import pickle
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recd_client import control, errors
from recd_client.control import LENGTH, MAX_MESSAGE_BYTES, Caller, decode, encode
from recd_client.errors import DaemonNotRunningError, ProtocolError, RecdError, from_wire, to_wire

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
messages = st.dictionaries(st.text(), json_values, max_size=6)


def classes(root: type[RecdError] = RecdError) -> list[type[RecdError]]:
    """Every class of the tree of errors."""
    return [root, *(c for child in root.__subclasses__() for c in classes(child))]


# --- framing ------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(messages)
def test_a_message_comes_back_as_it_was(message: dict[str, Any]) -> None:
    """Any JSON object survives the wire, behind the length of its bytes."""
    framed = encode(message)
    assert LENGTH.unpack(framed[:4]) == (len(framed) - 4,)
    assert decode(framed[4:]) == message


def test_numbers_that_json_lacks_survive() -> None:
    """NaN and the infinities (times, options) come back as they were sent."""
    back = decode(encode({"values": [float("inf"), float("-inf"), float("nan")]})[4:])["values"]
    assert [repr(v) for v in back] == ["inf", "-inf", "nan"]


def test_the_largest_message_passes_and_one_byte_more_does_not() -> None:
    """The cap holds where a message is made, and the error names both sizes."""
    frame = len('{"x":""}')
    assert len(encode({"x": "y" * (MAX_MESSAGE_BYTES - frame)})) == 4 + MAX_MESSAGE_BYTES
    with pytest.raises(ProtocolError, match=f"{MAX_MESSAGE_BYTES + 1} bytes, at most {MAX_MESSAGE_BYTES}"):
        encode({"x": "y" * (MAX_MESSAGE_BYTES - frame + 1)})


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200) | json_values.map(lambda v: json.dumps(v).encode()))
def test_garbage_is_a_message_or_a_protocol_error(body: bytes) -> None:
    """Whatever bytes come, decoding gives an object or says that it is none."""
    try:
        assert isinstance(decode(body), dict)
    except ProtocolError as e:
        told = e
    else:
        return
    assert told.what
    assert told.do


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b"[]", b"null", b"7", b'"text"', b'{"a":1}x'],
)
def test_what_is_no_object_is_refused(body: bytes) -> None:
    """Half a message, nesting without end, or JSON that is no object: a protocol error each time."""
    with pytest.raises(ProtocolError):
        decode(body)


# --- errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", classes())
def test_every_error_survives_the_wire(cls: type[RecdError]) -> None:
    """The other side raises the same class with the same words, the first line and the remedy."""
    error = cls("stream 'état' stalls", "do this")
    back = from_wire(decode(encode({"error": to_wire(error)})[4:])["error"])
    assert type(back) is cls
    assert (back.what, back.do, str(back)) == (error.what, error.do, "stream 'état' stalls\n  -> do this")


@pytest.mark.parametrize("cls", classes())
def test_every_error_survives_pickling(cls: type[RecdError]) -> None:
    """An error that crosses between processes keeps its class and words."""
    back = pickle.loads(pickle.dumps(cls("what", "do")))
    assert (type(back), back.what, back.do, str(back)) == (cls, "what", "do", "what\n  -> do")


def test_every_error_has_a_code_of_its_own() -> None:
    """Codes are what the wire carries: no two classes share one."""
    codes = [cls.code for cls in classes()]
    assert len(set(codes)) == len(codes) > 15


def test_every_error_of_the_module_is_in_the_tree() -> None:
    """Whoever catches RecdError catches them all; the warnings are none."""
    found = {c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)}
    warnings = {errors.DataLossWarning, errors.IncompleteRecordingWarning, errors.ReplayWarning}
    assert found - warnings == {c for c in classes() if c.__module__ == errors.__name__}


def test_an_error_of_another_kind_crosses_as_a_plain_one() -> None:
    """A bug in the daemon reaches the client with its name and its message."""
    back = from_wire(to_wire(ZeroDivisionError("division by zero")))
    assert type(back) is RecdError
    assert back.what == "ZeroDivisionError: division by zero"


@settings(deadline=None)
@given(json_values | st.fixed_dictionaries({"code": json_values, "what": json_values, "do": json_values}))
def test_a_garbled_error_is_still_an_error(wire: Any) -> None:
    """Whatever stands where an error should, the caller gets one of the tree."""
    assert isinstance(from_wire(wire), RecdError)


# --- the caller ---------------------------------------------------------------------------------------


def receive(sock: socket.socket) -> dict[str, Any]:
    """The next request."""
    parts = b""
    while len(parts) < 4 or len(parts) < 4 + LENGTH.unpack(parts[:4])[0]:
        if not (part := sock.recv(1 << 16)):
            raise EOFError("the caller hung up")
        parts += part
    return decode(parts[4:])


def answer(sock: socket.socket, **reply: Any) -> None:
    """Read a request and send its reply."""
    sock.sendall(encode({"id": receive(sock)["id"], "ok": True, **reply}))


@pytest.fixture
def path() -> Iterator[Path]:
    """Where a socket may be: pytest's own directories can be too deep for one."""
    with tempfile.TemporaryDirectory(prefix="recd-", dir="/tmp") as directory:
        yield Path(directory) / "recd.sock"


@contextmanager
def daemon(path: Path, script: Callable[[socket.socket], object]) -> Iterator[None]:
    """A daemon that does as the script says with one peer, until that hangs up."""

    def serve() -> None:
        sock, _ = listening.accept()
        with sock:
            script(sock)
            with suppress(ConnectionResetError, BrokenPipeError):  # the peer may hang up in mid-message
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(1 << 16):
                    pass

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        listening.settimeout(60.0)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            thread.join()


@contextmanager
def calling(path: Path, script: Callable[[socket.socket], object]) -> Iterator[Caller]:
    """A caller that was greeted by such a daemon."""

    def greet(sock: socket.socket) -> None:
        answer(sock, version="9.9")
        script(sock)

    with daemon(path, greet):
        caller = Caller(path)
        try:
            yield caller
        finally:
            caller.close()


def test_a_call_returns_its_reply(path: Path) -> None:
    """Members and fields of any name are sent, and the reply comes back."""
    seen = []

    def script(sock: socket.socket) -> None:
        seen.append(request := receive(sock))
        sock.sendall(encode({"id": request["id"], "ok": True, "got": 1}))

    with calling(path, script) as caller:
        reply = caller.call("flush", 60.0, members={"timeout_s": 0.5, "op": "no"}, session="s")
        assert caller.server["version"] == "9.9"
    assert reply["got"] == 1
    assert seen == [{"id": 2, "op": "flush", "timeout_s": 0.5, "session": "s"}]


def test_the_greeting_says_who_speaks(path: Path) -> None:
    """The first request carries protocol version, role and the caller's version."""
    seen = []

    def script(sock: socket.socket) -> None:
        seen.append(request := receive(sock))
        sock.sendall(encode({"id": request["id"], "ok": True}))

    with daemon(path, script):
        Caller(path, role="cli", version="1.2").close()
    protocol = [control.PROTOCOL_MAJOR, control.PROTOCOL_MINOR]
    assert seen == [{"id": 1, "op": "hello", "protocol": protocol, "role": "cli", "version": "1.2"}]


def test_a_reply_in_pieces_is_put_together(path: Path) -> None:
    """However the bytes of a reply are cut, it arrives whole."""

    def script(sock: socket.socket) -> None:
        for byte in encode({"id": receive(sock)["id"], "ok": True, "text": "ä" * 50}):
            sock.send(bytes([byte]))

    with calling(path, script) as caller:
        assert caller.call("status", 60.0)["text"] == "ä" * 50


def test_replies_to_others_are_passed_over(path: Path) -> None:
    """A late reply to a request that nobody waits for any more is not taken for this one's."""

    def script(sock: socket.socket) -> None:
        request = receive(sock)
        for number in (0, None, "2", 99, request["id"]):
            sock.sendall(encode({"id": number, "ok": True, "for": number}))

    with calling(path, script) as caller:
        assert caller.call("status", 60.0)["for"] == 2


def test_an_error_reply_is_raised_and_the_connection_goes_on(path: Path) -> None:
    """What the daemon refuses is raised here as the same class; the next call works."""

    def script(sock: socket.socket) -> None:
        answer(sock, ok=False, error=to_wire(errors.OutputExistsError("a.csv exists", "pass overwrite")))
        answer(sock, ok=False, error="garbled")
        answer(sock, fine=True)

    with calling(path, script) as caller:
        with pytest.raises(errors.OutputExistsError, match=r"a\.csv exists\n  -> pass overwrite"):
            caller.call("attach", 60.0)
        with pytest.raises(RecdError, match="unknown error"):
            caller.call("attach", 60.0)
        assert caller.call("status", 60.0)["fine"]


def test_a_request_that_is_too_large_breaks_nothing(path: Path) -> None:
    """It is refused before a byte is sent: the connection, and with it the session, lives on."""
    with calling(path, lambda sock: answer(sock, fine=True)) as caller:
        with pytest.raises(ProtocolError, match="at most"):
            caller.call("open", 60.0, metadata="x" * MAX_MESSAGE_BYTES)
        with pytest.raises(TypeError):
            caller.call("open", 60.0, metadata={1, 2})
        assert caller.call("status", 60.0)["fine"]


@pytest.mark.parametrize(
    "reply",
    [
        LENGTH.pack(MAX_MESSAGE_BYTES + 1),
        LENGTH.pack(2**32 - 1),
        LENGTH.pack(2) + b"[]",
        LENGTH.pack(3) + b"{]}",
    ],
    ids=["oversized", "absurd", "no object", "no json"],
)
def test_a_malformed_reply_ends_the_connection(path: Path, reply: bytes) -> None:
    """What is no message is a protocol error, and the rest of the stream is not believed."""
    with calling(path, lambda sock: sock.sendall(reply)) as caller:
        with pytest.raises(ProtocolError):
            caller.call("status", 60.0)
        assert caller.fileno() == -1
        assert caller.hung_up()


@pytest.mark.parametrize("reply", [b"", b"\x05", LENGTH.pack(50) + b'{"id":2,'])
def test_a_reply_that_breaks_off_says_that_the_daemon_is_gone(path: Path, reply: bytes) -> None:
    """A connection closed before or within a reply is an error that names the request."""
    with calling(path, lambda sock: sock.sendall(reply)) as caller:
        with pytest.raises(DaemonNotRunningError, match="did not answer 'status'"):
            caller.call("status", 60.0)
        assert caller.hung_up()


def test_a_daemon_that_does_not_answer_is_waited_for_no_longer_than_asked(path: Path) -> None:
    """Past its timeout a call ends with an error, and the connection is closed: a late reply is nobody's."""
    done = threading.Event()
    with calling(path, lambda _: done.wait(60.0)) as caller:
        with pytest.raises(DaemonNotRunningError, match="did not answer 'status'"):
            caller.call("status", 0.01)
        done.set()
        assert caller.hung_up()


def test_a_daemon_that_drips_does_not_stretch_the_timeout(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timeout is for the whole reply, not for each piece of it."""
    with calling(path, drip) as caller:
        looks = iter(range(1_000_000))
        clock = SimpleNamespace(monotonic=lambda: float(next(looks)))
        monkeypatch.setattr(control, "time", clock)  # a second passes at each look
        with pytest.raises(DaemonNotRunningError, match="timed out"):
            caller.call("status", 3.0)


def drip(sock: socket.socket) -> None:
    """Answer a request with a long message, a little at a time, until the peer hangs up."""
    receive(sock)
    with suppress(BrokenPipeError, ConnectionResetError):
        sock.sendall(LENGTH.pack(MAX_MESSAGE_BYTES))
        for _ in range(MAX_MESSAGE_BYTES // 100 - 1):
            sock.sendall(b"y" * 100)


@pytest.mark.parametrize("stale", [False, True])
def test_no_daemon_is_an_error_that_names_the_socket(path: Path, stale: bool) -> None:
    """Whether the socket is missing or left over, the error says where it was looked for and what to do."""
    if stale:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
    with pytest.raises(DaemonNotRunningError, match=str(path)) as caught:
        Caller(path)
    assert "recd start" in caught.value.do


def test_a_daemon_that_refuses_the_greeting_is_heard(path: Path) -> None:
    """A daemon of another major version says so, and the caller raises just that."""
    refusal = to_wire(errors.VersionMismatchError("protocol 1, here 2", "update recd"))
    with (
        daemon(path, lambda sock: answer(sock, ok=False, error=refusal)),
        pytest.raises(errors.VersionMismatchError, match="protocol 1, here 2"),
    ):
        Caller(path)


def test_a_socket_path_may_have_107_bytes_and_no_more() -> None:
    """The longest path is really usable; a longer one is an error that counts bytes and says what to set."""
    with tempfile.TemporaryDirectory(prefix="recd-", dir="/tmp") as directory:
        longest = Path(directory) / ("é" * ((106 - len(directory)) // 2) + "x" * ((106 - len(directory)) % 2))
        control.check_socket_path(longest)
        with calling(longest, lambda sock: answer(sock)) as caller:
            caller.call("status", 60.0)
    too_long = longest.with_name(longest.name + "x")
    for refuse in (control.check_socket_path, Caller):
        with pytest.raises(RecdError, match="has 108 bytes, the system allows 107") as caught:
            refuse(too_long)
        assert "RECD_RUNTIME_DIR" in caught.value.do


def test_a_socket_path_of_any_bytes_is_measured() -> None:
    """A directory whose name is no UTF-8 is no reason to fail."""
    control.check_socket_path(Path("/tmp/\udcff/recd.sock"))


def test_a_caller_notices_that_the_daemon_hung_up(path: Path) -> None:
    """Without sending or waiting it knows whether the other end is still there."""
    said = threading.Event()
    with calling(path, lambda _: said.wait(60.0)) as caller:
        assert not caller.hung_up()
        said.set()
        with pytest.raises(DaemonNotRunningError):
            caller.call("status", 60.0)
        assert caller.hung_up()


def test_a_detached_connection_belongs_to_its_new_owner(path: Path) -> None:
    """The socket goes on to work where it was handed; the caller itself is closed."""
    with calling(path, lambda sock: answer(sock, fine=True)) as caller:
        with caller.detach() as sock:
            assert caller.fileno() == -1
            assert caller.hung_up()
            sock.sendall(encode({"id": 5, "op": "x"}))
            assert receive(sock) == {"id": 5, "ok": True, "fine": True}
        caller.close()
