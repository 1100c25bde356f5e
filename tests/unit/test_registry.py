"""The supervisor's view of a worker, through its deaths."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recd import index, nursery
from recd.adoption import Adoption
from recd.nursery import Nursery
from recd.registry import EXIT_LOCKED, Group, Registry, Session, WorkerHandle
from recd_client.errors import LimitError, WorkerError


def handle(group: Group, pid: int, *, answers: bool = True) -> WorkerHandle:
    """A worker that answers at once, or never."""

    def send(message: dict[str, Any]) -> None:
        if answers:
            asyncio.get_running_loop().call_soon(made.answered, {"id": message["id"], "by": pid})

    made = WorkerHandle(group.name, pid, send, lambda: None, lambda: None)
    return made


def test_a_question_outlives_a_worker_that_joins_and_dies() -> None:
    """A worker may die between its join and the moment in which the asker goes on: the next one is asked."""

    async def ask() -> dict[str, Any]:
        group = Group("main")
        question = asyncio.ensure_future(group.ask("status", 10.0))
        await asyncio.sleep(0)
        group.join(handle(group, 1))
        group.leave(1)  # before the asker could run
        for _ in range(5):
            await asyncio.sleep(0)
        assert not question.done()
        group.join(handle(group, 2))
        return await question

    assert asyncio.run(ask())["by"] == 2


def test_a_question_outlives_a_worker_that_dies_over_it() -> None:
    """Asked and dead before it answered: its successor is asked the same."""

    async def ask() -> dict[str, Any]:
        group = Group("main")
        group.join(handle(group, 1, answers=False))
        question = asyncio.ensure_future(group.ask("status", 10.0))
        for _ in range(5):
            await asyncio.sleep(0)
        group.leave(1)
        group.join(handle(group, 2))
        return await question

    assert asyncio.run(ask())["by"] == 2


def test_a_group_that_died_too_often_says_so_until_it_is_tried_again() -> None:
    """Five deaths at once end the questions with the reason; another chance, and they wait for the worker."""

    async def ask() -> dict[str, Any]:
        group = Group("main")
        assert [group.may_restart() for _ in range(5)] == [True] * 4 + [False]
        with pytest.raises(WorkerError, match="died 5 times within 10 s"):
            await group.ask("status", 10.0)
        group.try_again()
        question = asyncio.ensure_future(group.ask("status", 10.0))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not question.done()
        group.join(handle(group, 6))
        return await question

    assert asyncio.run(ask())["by"] == 6


def test_a_worker_that_joins_makes_good_for_its_predecessors() -> None:
    """One that outlived the last supervisor may join after others failed: then it is asked."""

    async def ask() -> dict[str, Any]:
        group = Group("main")
        for _ in range(5):
            group.may_restart()
        group.join(handle(group, 6))
        return await group.ask("status", 10.0)

    assert asyncio.run(ask())["by"] == 6


def test_a_worker_that_died_too_often_is_tried_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No session stays without a worker for ever: after a pause comes the next one, told of the crash."""
    monkeypatch.setattr(nursery, "RETRY_FAILED_S", 0.0)

    async def die() -> None:
        registry, started = Registry(), []
        keeper = Nursery(tmp_path, registry)
        monkeypatch.setattr(keeper, "start", lambda session, group, *, crashed: started.append(crashed))
        session = registry.sessions["s"] = Session("s", "s", tmp_path, 1, 1, 0.0)
        for _ in range(4):
            keeper._died(session, session.group("main"), 1, -9)
        keeper._died(session, session.group("main"), 1, -11)
        assert (started, bool(session.group("main").failed)) == ([False] * 4, True)
        await asyncio.sleep(0.01)
        assert (started, session.group("main").failed) == ([False] * 4 + [True], "")

    asyncio.run(die())


def test_a_death_of_which_nobody_knows_is_blamed_on_no_ring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill, an adopted worker's end, and that of one whose fork server died with it, are no crashes; a signal is."""

    async def die() -> list[bool]:
        registry, crashes = Registry(), []
        keeper = Nursery(tmp_path, registry)
        monkeypatch.setattr(keeper, "start", lambda session, group, *, crashed: crashes.append(crashed))
        session = registry.sessions["s"] = Session("s", "s", tmp_path, 1, 1, 0.0)
        for exit_code in (-9, None, 255, -7):
            keeper._died(session, session.group("main"), 1, exit_code)
        return crashes

    assert asyncio.run(die()) == [False, False, False, True]


class Stillborn:
    """Stands for the fork server's context: whoever is forked is counted."""

    def __init__(self) -> None:
        self.forked = 0

    def Process(self, **_: Any) -> Any:
        """Count, and go no further (multiprocess calls it so)."""
        self.forked += 1
        raise RuntimeError("forked")


class Forks:
    """Stands for the fork server's context, which is killed so many times while a worker is forked."""

    def __init__(self, deaths: int) -> None:
        self.deaths = [EOFError("unexpected EOF"), ConnectionRefusedError(errno.ECONNREFUSED, "refused")] * 3
        del self.deaths[deaths:]
        self.crashed: list[bool] = []

    def Process(self, *, kwargs: dict[str, Any], **_: Any) -> Any:
        """What is started later (multiprocess calls it so)."""

        def start() -> None:
            if self.deaths:
                raise self.deaths.pop(0)
            self.crashed.append(kwargs["crashed"])

        return SimpleNamespace(start=start, pid=1)


@pytest.mark.parametrize("deaths", [1, 4, 6])
@pytest.mark.parametrize("beginning", [False, True])
def test_a_fork_server_killed_in_mid_fork_costs_no_session_its_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: int, beginning: bool
) -> None:
    """It is tried again, after too many times later; who waits for a session to begin is told then."""
    monkeypatch.setattr(nursery, "_FORK_RETRY_S", 0.0)
    monkeypatch.setattr(nursery, "RETRY_FAILED_S", 0.0)

    async def fork() -> None:
        registry = Registry()
        keeper = Nursery(tmp_path, registry)
        keeper._context = forks = Forks(deaths)
        monkeypatch.setattr(keeper, "_watch", lambda *_: None)
        session = registry.sessions["s"] = Session("s", "s", tmp_path, 1, 1, 0.0)
        if beginning:
            session.opened = asyncio.get_running_loop().create_future()
            keeper.start(session, session.group("main"), {})
        else:
            keeper._died(session, session.group("main"), 1, -11)
        if beginning and deaths > 4:
            assert session.opened is not None
            with pytest.raises(WorkerError, match="died while it began"):
                await asyncio.wait_for(session.opened, 10.0)
            assert registry.sessions == {}
            return

        async def forked() -> None:
            while not forks.crashed:
                await asyncio.sleep(0)

        await asyncio.wait_for(forked(), 10.0)
        assert forks.crashed == [not beginning]

    asyncio.run(fork())


@pytest.mark.parametrize("exit_code", [-11, EXIT_LOCKED])
def test_a_worker_that_dies_over_a_beginning_has_no_successor_while_the_daemon_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exit_code: int
) -> None:
    """Nobody would tell the successor to stop; who waits for the session is told to try again."""
    monkeypatch.setattr(nursery, "_LOCK_RETRY_S", 0.0)

    async def die() -> None:
        registry = Registry()
        keeper = Nursery(tmp_path, registry)
        keeper._context = forks = Stillborn()
        session = registry.sessions["s"] = Session("s", "s", tmp_path, 1, 1, 0.0)
        session.opened = asyncio.get_running_loop().create_future()
        keeper.closed = True
        keeper._died(session, session.group("main"), 1, exit_code)
        with pytest.raises(LimitError, match="the daemon is stopping"):
            await asyncio.wait_for(session.opened, 60.0)
        with pytest.raises(WorkerError, match="the daemon is stopping"):
            await session.group("main").ask("status", 10.0)
        assert (forks.forked, registry.sessions) == (0, {})

    asyncio.run(die())


@pytest.mark.usefixtures("runtime")
def test_a_session_whose_directory_comes_back_is_not_taken_up_while_the_daemon_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked for no more; the next daemon takes it up."""
    entry = {
        "session": "s",
        "name": "s",
        "directory": str(tmp_path),
        "state": "live",
        "runtime_dir": str(tmp_path),
    }
    index.write(entry)

    async def come_back() -> None:
        registry = Registry()
        keeper = Nursery(tmp_path, registry)
        adoption = Adoption(tmp_path, registry, keeper)
        adoption.begin()
        assert [s["session"] for s in adoption.status()] == ["s"]
        monkeypatch.setattr(adoption, "load", lambda *_: pytest.fail("taken up"))
        keeper.closed = True
        adoption._adopt_away()

    asyncio.run(come_back())


def test_questions_that_overlap_have_each_its_own_answer() -> None:
    """Whoever is answered first takes nobody else's answer away: `recd status` beside an attach."""

    async def ask() -> list[Any]:
        group, asked = Group("main"), []
        worker = WorkerHandle(group.name, 1, asked.append, lambda: None, lambda: None)
        group.join(worker)
        questions = [asyncio.ensure_future(group.ask(op, 10.0)) for op in ("status", "attach", "flush")]
        while len(asked) < len(questions):
            await asyncio.sleep(0)
        for message in asked:
            worker.answered({"id": message["id"], "to": message["op"]})
            for _ in range(5):
                await asyncio.sleep(0)
        return [(await asyncio.wait_for(q, 60.0))["to"] for q in questions]

    assert asyncio.run(ask()) == ["status", "attach", "flush"]
