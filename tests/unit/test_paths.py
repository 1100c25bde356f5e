from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from recd import paths
from recd_client.errors import OutputError, RecdError


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime directory that does not exist yet."""
    monkeypatch.setenv("RECD_RUNTIME_DIR", str(tmp_path / "run" / "recd"))
    return tmp_path / "run" / "recd"


def test_the_runtime_directory_is_made_for_its_owner_alone(directory: Path) -> None:
    """The directory of socket and lock is made with mode 0700, whatever the umask."""
    before = os.umask(0)
    try:
        assert paths.ensure_runtime_dir() == directory
    finally:
        os.umask(before)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert paths.ensure_runtime_dir() == directory


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_runtime_directory_that_others_can_write_is_refused(directory: Path, mode: int) -> None:
    """Whoever can write there could pose as the daemon; the message says how to close it."""
    directory.mkdir(parents=True)
    directory.chmod(mode)
    with pytest.raises(OutputError, match=f"mode {mode:04o}") as caught:
        paths.ensure_runtime_dir()
    assert f"chmod 700 {directory}" in caught.value.do


def test_a_runtime_directory_of_another_user_is_refused(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that somebody else prepared under the expected name is not used."""
    directory.mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: directory.stat().st_uid + 1)
    with pytest.raises(OutputError, match="belongs to uid") as caught:
        paths.ensure_runtime_dir()
    assert "RECD_RUNTIME_DIR" in caught.value.do


def test_a_file_in_the_place_of_the_runtime_directory_is_a_clear_error(directory: Path) -> None:
    """A path that cannot become a directory is named, with what to do."""
    directory.parent.mkdir()
    directory.write_text("")
    with pytest.raises(OutputError, match=str(directory)) as caught:
        paths.ensure_runtime_dir()
    assert "RECD_RUNTIME_DIR" in caught.value.do


def test_a_path_too_long_for_a_socket_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's limit of 107 bytes is a message, not a failing bind later."""
    long = tmp_path / ("x" * 120)
    monkeypatch.setenv("RECD_RUNTIME_DIR", str(long))
    with pytest.raises(RecdError, match="107"):
        paths.ensure_runtime_dir()
    assert not long.exists()


@pytest.mark.parametrize(
    ("given", "expected"),
    [("/state", "/state/recd"), ("relative", "~/.local/state/recd"), ("", "~/.local/state/recd")],
)
def test_state_lives_where_the_xdg_specification_says(
    given: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XDG_STATE_HOME counts when it is absolute, as its specification demands, else the home directory."""
    monkeypatch.setenv("XDG_STATE_HOME", given)
    assert paths.state_dir() == Path(expected).expanduser()
    assert paths.session_index_dir() == Path(expected).expanduser() / "sessions"


def test_lock_log_and_socket_lie_together(directory: Path) -> None:
    """All that the daemon keeps while it runs is in its runtime directory."""
    assert {paths.lock_path().parent, paths.log_path().parent, paths.socket_path().parent} == {directory}
