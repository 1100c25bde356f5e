"""The supervisor's view of a worker, through its deaths."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from recd import nursery
from recd.nursery import Nursery
from recd.registry import Group, Registry, Session, WorkerHandle
from recd_client.errors import WorkerError


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


def test_a_worker_that_died_too_often_is_tried_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No session stays without a worker for ever: after a pause comes the next one, told of the crash."""
    monkeypatch.setattr(nursery, "RETRY_FAILED_S", 0.0)

    async def die() -> None:
        keeper, started = Nursery(tmp_path, Registry()), []
        monkeypatch.setattr(keeper, "start", lambda session, group, *, crashed: started.append(crashed))
        session = Session("s", "s", tmp_path, 1, 1, 0.0)
        for _ in range(4):
            keeper._died(session, session.group("main"), 1, -9)
        keeper._died(session, session.group("main"), 1, -11)
        assert (started, bool(session.group("main").failed)) == ([False] * 4, True)
        await asyncio.sleep(0.01)
        assert (started, session.group("main").failed) == ([False] * 4 + [True], "")

    asyncio.run(die())
