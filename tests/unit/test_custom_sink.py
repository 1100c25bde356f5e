"""The option for users' own recorders: checked where it is made, again where it arrives, and before it may run."""

from __future__ import annotations

import base64
import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import own_recorders
from recd.guests import admission, consent
from recd_client import CustomSink, OptionError, SinkOptions
from recd_client.errors import CodeNotAllowedError, VersionMismatchError
from recd_client.session import Session


class Local:
    def process(self, data: Any, t: float) -> None:
        """Nothing."""


def carried(**changes: Any) -> dict[str, Any]:
    """What stands on the wire for a sink whose code travels."""
    code = base64.b64encode(b"no pickle at all").decode()
    python = "{}.{}".format(*sys.version_info)
    return {**CustomSink("a:B").to_json(), "target": "local", "code": code, "python": python, **changes}


# --- making it ------------------------------------------------------------------------------------


def test_what_is_no_option_of_recd_is_an_argument_of_the_recorder() -> None:
    """Options are known by their names; in `kwargs` an argument may have one of those."""
    sink = CustomSink("a.b:C", gain=2, hz=5, split=10, patience=3, kwargs={"hz": "fast"})
    assert (sink.hz, sink.split, sink.patience) == (5, sink.part_limit, 3)
    assert sink.kwargs == {"gain": 2, "hz": "fast"}
    assert sink.async_mode


def test_it_survives_the_wire() -> None:
    """The other side has an equal one, which says the same when it is sent on."""
    sink = CustomSink("a.b:C.D", filename="x.bin", names=["a"], deep={"k": [1.5, None]}, save_on_reset=True)
    again = SinkOptions.from_json(sink.to_json())
    assert again == sink
    assert again.to_json() == sink.to_json()


def test_arguments_arrive_as_json_has_them() -> None:
    """Tuples, arrays and paths become lists and strings here, not somewhere on the way."""
    sink = CustomSink("a:B", t=(1, 2), array=np.arange(2), path=Path("/x"))
    assert sink.kwargs == {"t": [1, 2], "array": [0, 1], "path": "/x"}


def test_another_one_can_be_made_of_it() -> None:
    """`dataclasses.replace` changes an option and keeps the rest."""
    sink = dataclasses.replace(CustomSink("a:B", filename="x.bin", gain=2), filename="y.txt")
    assert (sink.filename, sink.kwargs, sink.target, sink.suffixes) == (
        "y.txt",
        {"gain": 2},
        "a:B",
        (".txt",),
    )


@pytest.mark.parametrize(
    ("arguments", "options", "named"),
    [
        (("no colon",), {}, "target"),
        (("a:b:c",), {}, "target"),
        (("a.:b",), {}, "target"),
        (("os;system:x",), {}, "target"),
        ((5,), {}, "target"),
        ((Local(),), {}, "target"),
        (("a:B",), {"gain": object()}, "gain"),
        (("a:B",), {"gain": {1: 2}}, "gain"),
        (("a:B",), {"kwargs": [1]}, "kwargs"),
        (("a:B",), {"gain": 1, "kwargs": {"gain": 2}}, "gain"),
        (("a:B",), {"filename": "no_suffix"}, "filename"),
        (("a:B",), {"filename": "x.part.bin"}, "filename"),
        (("a:B",), {"patience": 0}, "patience"),
        (("a:B",), {"hz": -1}, "hz"),
        (("a:B",), {"save_on_reset": "yes"}, "save_on_reset"),
    ],
)
def test_bad_values_are_refused_by_name(arguments: Any, options: dict[str, Any], named: str) -> None:
    """The message names what is wrong."""
    with pytest.raises(OptionError, match=named):
        CustomSink(*arguments, **options)


def test_the_directories_of_the_program_go_along_and_installed_ones_do_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The script's own directory and what was added to the path; not Python's library, not site-packages."""
    (tmp_path / "site-packages").mkdir()
    given = [
        str(tmp_path),
        "",
        str(tmp_path / "site-packages"),
        os.path.dirname(os.__file__),
        str(tmp_path / "no"),
    ]
    monkeypatch.setattr(sys, "path", given)
    assert CustomSink("a:B").search == (str(tmp_path), os.getcwd())


def test_a_class_that_a_module_has_is_named_and_no_code_goes_along() -> None:
    """Also one inside another; its arguments must be what JSON can hold."""
    sink = CustomSink(own_recorders.Careful, gain=1)
    assert (sink.target, sink.code) == ("own_recorders:Careful", "")
    assert CustomSink(Session.mark).target == "recd_client.session:Session.mark"
    with pytest.raises(OptionError, match="JSON"):
        CustomSink(own_recorders.Careful, gain=object())


@pytest.mark.requires("dill")
def test_code_goes_along_where_no_module_has_it() -> None:
    """With any arguments; what is sent has the name for people only."""

    class Inner(Local):
        pass

    sink = CustomSink(Inner, anything=object())
    wire = sink.to_json()
    assert wire["code"]
    assert wire["kwargs"] == {}
    assert wire["python"] == "{}.{}".format(*sys.version_info)
    assert sink.name == "Inner"
    assert SinkOptions.from_json(wire).to_json() == wire


def test_without_dill_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install, or what to do without."""
    monkeypatch.setitem(sys.modules, "dill", None)
    with pytest.raises(OptionError, match=r"recd-client\[code\]"):
        CustomSink(lambda data, t: None)


@pytest.mark.requires("dill")
def test_what_cannot_be_pickled_is_refused() -> None:
    """The message says what stood in the way."""
    with open(os.devnull) as file, pytest.raises(OptionError, match=r"(?s)cannot be sent .*-> ") as told:
        CustomSink(
            lambda data, t: None, lock=iter(memoryview(b"").__class__.__subclasses__()), f=(file for _ in ())
        )
    assert told.value.__cause__ is not None


@pytest.mark.requires("dill")
def test_too_much_code_is_refused() -> None:
    """Before it meets the limit of a control message."""
    with pytest.raises(OptionError, match="may travel"):
        CustomSink(lambda data, t: None, data=os.urandom(3 << 20))


# --- arriving -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"target": 5},
        {"target": "no colon"},
        {"search": "/a"},
        {"search": ["relative"]},
        {"search": ["/a"] * 65},
        {"search": [5]},
        {"code": "!"},
        {"code": 5},
        {"python": 3},
        {"kwargs": {"x": 1}, "patience": -1},
        {"unheard_of": 1},
    ],
)
def test_what_arrives_is_checked_again(change: dict[str, Any]) -> None:
    """A client may send anything."""
    with pytest.raises(OptionError):
        SinkOptions.from_json({**CustomSink("a:B").to_json(), **change})


# --- whether it may run -----------------------------------------------------------------------------


@pytest.mark.parametrize("daemon", ["1", "", "0", "yes", None])
@pytest.mark.parametrize("session", [True, False])
def test_code_runs_only_with_both_consents(
    monkeypatch: pytest.MonkeyPatch, daemon: str | None, session: bool
) -> None:
    """All other combinations are refused, and the message says what is missing."""
    if daemon is None:
        monkeypatch.delenv(consent.VARIABLE, raising=False)
    else:
        monkeypatch.setenv(consent.VARIABLE, daemon)
    option = SinkOptions.from_json(carried())
    assert isinstance(option, CustomSink)
    if session and daemon == "1":
        admission.check(option, session_allows=session)
        return
    missing = "--allow-code" if session else "allow_code=True"
    with pytest.raises(CodeNotAllowedError, match=missing):
        admission.check(option, session_allows=session)


def test_byte_code_of_another_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both versions are named."""
    monkeypatch.setenv(consent.VARIABLE, "1")
    option = SinkOptions.from_json(carried(python="3.4"))
    assert isinstance(option, CustomSink)
    with pytest.raises(VersionMismatchError, match=r"3\.4.*{}\.{}".format(*sys.version_info)):
        admission.check(option, session_allows=True)


def test_looking_for_a_module_runs_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found beside the script, without being imported; one that is not there is refused."""
    (tmp_path / "only_found.py").write_text("raise AssertionError")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    found, missing = CustomSink("only_found:X"), CustomSink("never_found.at_all:X")
    monkeypatch.undo()
    admission.check(found, session_allows=False)
    assert "only_found" not in sys.modules
    with pytest.raises(OptionError, match="'never_found'"):
        admission.check(missing, session_allows=False)


def test_a_recording_from_elsewhere_imports_nothing_without_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files name the module, and where it is looked for: that needs the word of whoever recovers it."""
    monkeypatch.delenv(consent.VARIABLE, raising=False)
    monkeypatch.setattr(consent, "_foreign", True)
    with pytest.raises(CodeNotAllowedError, match="--allow-code"):
        admission.check(CustomSink(own_recorders.Careful), session_allows=True)
    monkeypatch.setenv(consent.VARIABLE, "1")
    admission.check(CustomSink(own_recorders.Careful), session_allows=False)


def test_the_daemons_consent_is_its_own_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in its environment does not count."""
    monkeypatch.setenv(consent.VARIABLE, "1")
    consent.give(False)
    assert not consent.given()
    consent.give(True)
    assert consent.given()
