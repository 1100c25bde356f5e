"""What the page may do to a recording: mark it and stop it; and who may."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from pages import asked, opened, plot_of, told
from recd_client import NPZFile, Recorder
from recordings import proved
from serving import Served, serving
from support import wait_until

pytestmark = [pytest.mark.usefixtures("runtime"), pytest.mark.requires("aiohttp", "PIL")]


def posted(served: Served, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    """Status and answer of a POST as the page sends it."""
    usual = {"Content_Type": "application/json", "Origin": served.base, **headers}
    answer, data = asked(served, path, "POST", body=json.dumps(body), **usual)
    return answer.status, json.loads(data) if data.startswith(b"{") else data


def test_a_mark_from_the_page_is_on_the_timeline_and_in_the_manifest(tmp_path: Path) -> None:
    """It comes back at once with the time of the nearest sample, and stays in the recording."""

    async def look(served: Served, rec: Recorder) -> None:
        stream = rec.stream("state", NPZFile("s.npz"))
        for i in range(10):
            stream.write(float(i), t=i / 10)
        async with opened(served) as page:
            key = (await page.state())["sessions"][0]["streams"][0]["key"]
            await page.show(plots=[plot_of(key, "data", [0])])
            await page.plot()
            said = {"session": rec.session, "label": "pushed", "fields": {"force": 3.5}}
            status, answer = await asyncio.to_thread(posted, served, "/mark", said)
            assert (status, answer["mark"]["label"]) == (200, "pushed")
            state = await page.state(lambda s: s["sessions"][0]["marks"])
            assert [m["label"] for m in state["sessions"][0]["marks"]] == ["pushed"]
            (event,) = await page.find(
                lambda m: m["events"] if isinstance(m, dict) and m.get("type") == "events" else None
            )
            assert (event["kind"], event["label"], event["fields"]) == ("outside", "pushed", {"force": 3.5})
            assert (event["sim"], event["seq"]) == (0.9, 9)
        rec.close()

    with Recorder("walk", dir=tmp_path) as rec, serving() as served:
        asyncio.run(look(served, rec))
        marks = told(served, f"/past/{rec.session}")["marks"]
        assert [(m["label"], m["source"], m["about"]) for m in marks] == [("pushed", "outside", True)]
        assert 0 <= marks[0]["t"] <= 0.9
    assert [m["label"] for m in json.loads((tmp_path / "manifest.json").read_text())["marks"]] == ["pushed"]


def test_an_alert_is_told_as_one_at_its_own_time(tmp_path: Path) -> None:
    """What the daemon says of its time and sample is not guessed anew."""

    async def look(served: Served, rec: Recorder) -> None:
        from recd.cli._common import connect

        stream = rec.stream("state", NPZFile("s.npz"))
        for i in range(10):
            stream.write(float(i), t=i / 10)
        caller = connect()
        caller.call("mark", 30, session=rec.session, label="alert", fields={"condition": "x > 1", "value": 2},
                    source="alert", stream="state", t=0.3, seq=3)  # fmt: skip
        caller.close()
        async with opened(served) as page:
            key = (await page.state())["sessions"][0]["streams"][0]["key"]
            await page.show(plots=[plot_of(key, "data", [0])])
            (event,) = await page.find(
                lambda m: m["events"] if isinstance(m, dict) and m.get("type") == "events" else None
            )
            assert (event["kind"], event["sim"]) == ("alert", 0.3)
            assert event["fields"] == {"condition": "x > 1", "value": 2}

    with Recorder("walk", dir=tmp_path) as rec, serving() as served:
        asyncio.run(look(served, rec))


def test_stop_ends_one_recording_whose_files_are_whole(tmp_path: Path) -> None:
    """The other goes on; stopping it again is an answer with what to do."""
    with (
        Recorder("a", dir=tmp_path / "a") as rec,
        Recorder("b", dir=tmp_path / "b") as other,
        serving() as served,
    ):
        for each in (rec, other):
            each.stream("state", NPZFile("s.npz")).write(1.0)
        status, answer = posted(served, "/stop", {"session": rec.session})
        assert (status, answer["name"]) == (200, "a")
        wait_until(lambda: (tmp_path / "a" / "manifest.json").exists())
        assert other.stream("late", NPZFile("l.npz")).write(2.0)
        again = {"session": rec.session}  # an answer as long as its last files are finished, then an error
        wait_until(lambda: posted(served, "/stop", again)[0] != 200)
        status, answer = posted(served, "/stop", again)
        assert status in (404, 409)
        assert rec.session in answer["what"]
        assert answer["do"]
    assert proved(tmp_path / "a")["streams"]["state"]["samples"] == 1
    assert proved(tmp_path / "b")["streams"]["late"]["samples"] == 1


@pytest.mark.parametrize("path", ["/mark", "/stop"])
def test_nothing_is_changed_without_token_from_another_site_or_by_a_form(tmp_path: Path, path: str) -> None:
    """Neither a stranger, nor another site's page with the cookie, nor a form that is sent from anywhere."""
    with Recorder("walk", dir=tmp_path) as rec, serving() as served:
        rec.stream("state", NPZFile("s.npz")).write(1.0)
        body = json.dumps({"session": rec.session, "label": "forged"})
        cookie = f"recd-{served.port}={served.token}"
        kinds = {"Content_Type": "application/json", "Origin": served.base}
        form = "application/x-www-form-urlencoded"
        refused: list[tuple[dict[str, str], bool, int]] = [
            (kinds, False, 403),
            ({**kinds, "Authorization": "Bearer wrong"}, False, 403),
            ({**kinds, "Origin": "http://evil.example", "Cookie": cookie}, False, 403),
            ({**kinds, "Origin": f"http://127.0.0.1:{served.port + 1}", "Cookie": cookie}, False, 403),
            ({**kinds, "Origin": "null", "Cookie": cookie}, False, 403),
            ({"Content_Type": "application/json", "Cookie": cookie}, False, 403),  # no Origin at all
            ({**kinds, "Host": "evil.example", "Cookie": cookie}, False, 421),
            ({**kinds, "Content_Type": form, "Cookie": cookie}, False, 415),
            ({**kinds, "Content_Type": "text/plain", "Cookie": cookie}, False, 415),
            ({"Origin": served.base, "Cookie": cookie}, False, 415),
            ({**kinds, "Content_Type": form}, True, 415),
        ]
        for headers, token, status in refused:
            assert asked(served, path, "POST", token=token, body=body, **headers)[0].status == status, headers
        assert asked(served, path, "GET")[0].status == 405
        assert asked(served, path, "POST", body="x" * 100_000, **kinds)[0].status == 413
        with_cookie, _ = asked(
            served, "/mark", "POST", token=False, Cookie=cookie,
            body=json.dumps({"session": rec.session, "label": "own"}), **kinds,
        )  # fmt: skip
        assert with_cookie.status == 200
        assert rec.stream("late", NPZFile("l.npz")).write(1.0)
    marks = json.loads((tmp_path / "manifest.json").read_text())["marks"]
    assert [m["label"] for m in marks] == ["own"]


#: Path, body, status, and what the answer names.
MALFORMED: list[tuple[str, Any, int, str]] = [
    ("/mark", [1], 400, "expected an object"),
    ("/mark", {}, 400, "session=None"),
    ("/mark", {"session": "../x", "label": "a"}, 400, "session='../x'"),
    ("/mark", {"session": "20200101T000000-abcdef", "label": "a"}, 404, "20200101T000000-abcdef"),
    ("/mark", {"session": "20200101T000000-abcdef", "label": "a", "source": "alert"}, 400, "source"),
    ("/stop", {"session": 7}, 400, "session=7"),
    ("/stop", {"session": "20200101T000000-abcdef", "deadline_s": 1}, 400, "deadline_s"),
    ("/stop", {"session": "20200101T000000-abcdef"}, 404, "20200101T000000-abcdef"),
]


def test_a_malformed_request_says_what_was_wrong(tmp_path: Path) -> None:
    """With what to do; the daemon is asked nothing that it was not meant to be asked."""
    with Recorder("walk", dir=tmp_path) as rec, serving() as served:
        rec.stream("state", NPZFile("s.npz")).write(1.0)
        for path, body, status, what in MALFORMED:
            got, answer = posted(served, path, body)
            assert got == status, (path, body)
            assert what in answer["what"], (path, body)
            assert answer["do"], (path, body)


def test_without_a_daemon_there_is_nothing_to_mark() -> None:
    """The page gets an error that says so."""
    with serving() as served:
        said = {"session": "20200101T000000-abcdef", "label": "a"}
        status, answer = posted(served, "/mark", said)
        assert status == 503
        assert "recd start" in answer["do"]
