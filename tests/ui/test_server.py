"""The page's server, without a browser: what it tells, whom it refuses, and that nobody who records notices."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pages import Page, asked, opened, plot_of, unpacked
from recd_client import CSVFile, NPZFile, NullSink, Recorder
from recordings import proved
from serving import Served, serving

pytestmark = [pytest.mark.usefixtures("runtime"), pytest.mark.requires("aiohttp", "PIL")]


# --- what is live -------------------------------------------------------------------------------------


def test_a_page_gets_the_values_that_were_written_then_only_what_is_new(tmp_path: Path) -> None:
    """The plot's points are the samples, bit for bit; later messages carry on where the page's points end."""

    async def look(served: Served, rec: Recorder) -> None:
        stream = rec.stream("state", NPZFile("s.npz"), units={"q": "rad"})
        values = np.random.default_rng(0).normal(size=(60, 3))
        for i in range(50):
            stream.write({"q": values[i], "name": "x"}, t=i / 10)
        async with opened(served) as page:
            state = await page.state(lambda s: s["sessions"] and s["sessions"][0]["streams"][0]["fields"])
            (told_stream,) = state["sessions"][0]["streams"]
            assert [(f["name"], f["unit"], f["kind"]) for f in told_stream["fields"]] == [
                ("q", "rad", "lines"),
                ("name", "", "other"),
            ]
            await page.show(plots=[plot_of(told_stream["key"], "q", [0, 2])], span=50.0)
            head, x, y = await page.plot()
            assert head["from"] is None
            assert x.tolist() == [i / 10 for i in range(50)]
            assert np.array_equal(y, values[:50, [0, 2]])
            for i in range(50, 60):
                stream.write({"q": values[i], "name": "x"}, t=i / 10)
            known = dict(zip(x.tolist(), y.tolist(), strict=True))
            while max(known) < 5.9:
                head, x, y = await page.plot()
                assert head["from"] is not None
                assert len(x) <= 11
                known = {t: v for t, v in known.items() if t < head["from"]}
                known |= dict(zip(x.tolist(), y.tolist(), strict=True))
            assert np.array_equal(list(known.values()), values[:, [0, 2]])

    with Recorder("walk", dir=tmp_path) as rec, serving() as served:
        asyncio.run(look(served, rec))


def test_a_page_that_does_not_draw_gets_newer_data_and_no_queue(tmp_path: Path) -> None:
    """After two rounds nothing more is sent, however much is written; one drawn round later comes the newest."""

    async def look(served: Served, rec: Recorder) -> None:
        stream = rec.stream("state", NullSink())
        stream.write(0.0, t=0.0)
        async with opened(served) as page:
            key = (await page.state())["sessions"][0]["streams"][0]["key"]
            page.draws = False
            await page.show(plots=[plot_of(key, "data", [0], width=100)], span=2000.0)
            await page.plot()
            for i in range(1, 20_001):
                stream.write(float(i), t=i / 10)
                if i % 1000 == 0:
                    await page.state()  # half a second of states, and of rounds that could be sent
            assert page.rounds <= 2
            page.draws = True
            await page.drawn(page.rounds)
            sizes = []
            while True:
                _, x, y = await page.plot()
                sizes.append(len(x))
                if x[-1] == 2000.0:
                    break
            assert y[-1, 0] == 20_000
            assert len(sizes) <= 3
            assert max(sizes) <= 2 * 101 + 2

    with Recorder("walk", dir=tmp_path) as rec, serving() as served:
        asyncio.run(look(served, rec))


def test_marks_and_losses_are_told(tmp_path: Path) -> None:
    """A mark comes with its label and time; what is lost is in the state."""

    async def look(served: Served, rec: Recorder) -> None:
        stream = rec.stream("state", NPZFile("s.npz"))
        stream.write(1.0, t=1.0)
        rec.mark("grasped", hand="left")
        async with opened(served) as page:
            key = (await page.state())["sessions"][0]["streams"][0]["key"]
            await page.show(plots=[plot_of(key, "data", [0])])
            message = await page.find(
                lambda m: m if isinstance(m, dict) and m.get("type") == "events" else None
            )
            (event,) = message["events"]
            assert (event["kind"], event["label"], event["fields"]) == ("mark", "grasped", {"hand": "left"})
            assert message["stream"] == key

    with Recorder("walk", dir=tmp_path) as rec, serving() as served:
        asyncio.run(look(served, rec))


def test_a_camera_comes_as_a_jpeg_as_wide_as_it_is_shown(tmp_path: Path) -> None:
    """Colours are those of the frame, numbers get the colours of a map with their extremes told."""
    from PIL import Image

    async def picture(page: Page, key: str, **how: Any) -> tuple[dict[str, Any], np.ndarray]:
        wanted = {"id": "p", "stream": key, "field": "data", "width": 32, "map": "gray", "scale": None, **how}
        await page.show(pictures=[wanted])
        head, jpeg = await page.find(lambda m: unpacked(m) if isinstance(m, bytes) else None)
        return head, np.asarray(Image.open(io.BytesIO(jpeg)), np.int64)

    async def look(served: Served, rec: Recorder) -> None:
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[:, 32:] = (200, 100, 50)
        rec.stream("front", NullSink()).write(frame, t=2.0)
        rec.stream("depth", NullSink()).write(np.tile(np.linspace(1, 5, 64, dtype=np.float32), (48, 1)))
        async with opened(served) as page:
            state = await page.state(lambda s: len(s["sessions"][0]["streams"]) == 2)
            keys = {s["name"]: s["key"] for s in state["sessions"][0]["streams"]}
            head, image = await picture(page, keys["front"])
            assert (head["seq"], head["t"], head["width"], head["height"]) == (0, 2.0, 64, 48)
            assert image.shape == (24, 32, 3)
            assert np.abs(image[:, 20:] - (200, 100, 50)).max() <= 8
            assert np.abs(image[:, :12]).max() <= 8
            head, image = await picture(page, keys["depth"])
            assert head["scale"] == [1.0, 5.0]
            assert image.shape == (24, 32)
            assert abs(image[12, 0]) <= 8
            assert image[12, -1] >= 240
            _, image = await picture(page, keys["depth"], map="viridis")
            assert np.abs(image[12, 0] - (0x44, 0x01, 0x54)).max() <= 24

    with Recorder("walk", dir=tmp_path) as rec, serving() as served:
        asyncio.run(look(served, rec))


def test_a_malformed_message_is_answered_and_the_connection_goes_on() -> None:
    """The page is told what was wrong, and states go on to come."""

    async def look(served: Served) -> None:
        async with opened(served) as page:
            for wrong in ("no json", '{"op":"dance"}', '{"op":"view"}', '{"op":"view","clock":"moon"}', "[]"):
                await page.socket.send_str(wrong)
                error = await page.find(lambda m: isinstance(m, dict) and m.get("type") == "error" and m)
                assert "malformed" in error["what"] or "unknown" in error["what"], wrong
                await page.state(lambda s: not s["running"])

    with serving() as served:
        asyncio.run(look(served))


@pytest.mark.parametrize("sign", [signal.SIGSTOP, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_stopped_or_killed_server_changes_nothing(
    tmp_path: Path, sign: signal.Signals, runtime: Path
) -> None:
    """Files and counts are as without it, however far it falls behind."""

    async def watch(served: Served, stream: Any) -> None:
        async with opened(served) as page:
            key = (await page.state())["sessions"][0]["streams"][0]["key"]
            await page.show(plots=[plot_of(key, "data", [0])])
            await page.plot()
            os.kill(served.process.pid, sign)
            for i in range(1, 5000):
                assert stream.write(np.full(10, float(i)))
            os.kill(served.process.pid, signal.SIGCONT)

    with Recorder("walk", dir=tmp_path) as rec:
        stream = rec.stream("state", CSVFile("s.csv"), buffer_bytes="64KiB", overflow="block", timeout=30.0)
        stream.write(np.zeros(10))
        with serving() as served:
            asyncio.run(watch(served, stream))
    counted = proved(tmp_path)["streams"]["state"]
    assert (counted["samples"], counted["lost"]) == (5000, {})
    (runtime / "ui.json").unlink(missing_ok=True)  # which a killed one cannot remove


# --- who may look -------------------------------------------------------------------------------------


def test_without_the_token_nothing_is_told() -> None:
    """Every address refuses, but for the page that asks for the token; with it, a cookie is given."""
    with serving() as served:
        for path in ("/", "/static/main.js", "/live", "/past", "/past/x", "/past/x/file/0", "/nowhere"):
            answer, data = asked(served, path, token=False)
            assert answer.status == 403, path
            assert b"recd ui --url" in data
            assert asked(served, path, token=False, Authorization="Bearer wrong")[0].status == 403
        assert asked(served, "/?token=wrong", token=False)[0].status == 403
        answer, _ = asked(served, f"/?token={served.token}", token=False)
        cookie = str(answer.getheader("Set-Cookie"))
        assert (answer.status, answer.getheader("Location")) == (303, "/")
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert asked(served, "/", token=False, Cookie=cookie.split(";")[0])[0].status == 200
        form = {"Content_Type": "application/x-www-form-urlencoded"}
        answer, _ = asked(served, "/enter", "POST", token=False, body=f"token={served.token}", **form)
        assert answer.status == 303


def test_foreign_names_and_foreign_pages_are_refused() -> None:
    """Neither a rebound name nor another site's page gets anything, even with the cookie."""
    with serving() as served:
        for host, status in (
            ("evil.example", 421),
            ("localhost:1", 200),
            ("127.0.0.1", 200),
            ("[::1]:80", 200),
        ):
            assert asked(served, "/", Host=host)[0].status == status, host
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
        key = {"Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
        for origin in ("http://evil.example", "null", f"http://127.0.0.1:{served.port + 1}"):
            assert asked(served, "/live", Origin=origin, **upgrade, **key)[0].status == 403, origin
        answer, _ = asked(served, "/")
        assert "default-src 'none'" in str(answer.getheader("Content-Security-Policy"))
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        for method in ("PUT", "DELETE", "PATCH", "POST"):
            assert asked(served, "/past", method)[0].status in (403, 405)


OUTWARDS = [
    "/static/../server.py",
    "/static/..%2fserver.py",
    "/static/%2e%2e/%2e%2e/%2e%2e/pyproject.toml",
    "/static//etc/passwd",
    "/static/vendor/../../server.py",
    "/past/..%2f..%2fetc",
    "/past/../../etc/passwd",
    "/past/x/file/..%2f..%2fmanifest.json",
    "/past/%2e%2e/plot?stream=a&field=b&lines=0&width=9",
]


def test_no_path_leads_out() -> None:
    """Whatever an address says, only files of the page and of manifests are ever sent."""
    with serving() as served:
        for path in OUTWARDS:
            answer, data = asked(served, path)
            assert answer.status in (400, 404), path
            assert b"import" not in data, path
            assert b"root:" not in data, path


def test_a_manifest_cannot_make_the_server_send_other_files(tmp_path: Path) -> None:
    """A file that is none of recd's kinds is refused, by its own name and behind a link."""
    with Recorder("walk", dir=tmp_path) as rec:
        rec.stream("a", CSVFile("a.csv")).write(1.0)
        rec.stream("b", CSVFile("b.csv")).write(1.0)
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["streams"]["a"]["files"][0]["path"] = "/etc/passwd"
    path.write_text(json.dumps(manifest))
    (tmp_path / "b.csv").unlink()
    (tmp_path / "b.csv").symlink_to("/etc/passwd")
    with serving() as served:
        for number in (0, 1, 2):
            answer, data = asked(served, f"/past/{rec.session}/file/{number}")
            assert answer.status == 404
            assert b"root:" not in data


# --- the command --------------------------------------------------------------------------------------


def recd(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end."""
    return subprocess.run([sys.executable, "-m", "recd", *arguments], capture_output=True, text=True)


def test_one_server_runs_and_its_address_can_be_asked_for() -> None:
    """A second one says where the first is; without any, --url is an error with what to do."""
    done = recd("ui", "--url")
    assert done.returncode == 3
    assert "recd ui" in done.stderr
    with serving() as served:
        assert recd("ui", "--url").stdout.strip() == served.url
        again = recd("ui")
        assert again.returncode == 0
        assert served.url in again.stdout
        assert "ssh -N -L" in again.stdout
    assert recd("ui", "--url").returncode == 3


def test_a_port_that_is_taken_is_an_error_with_what_to_do() -> None:
    """One that was asked for is not silently replaced."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = recd("ui", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "--port" in done.stderr


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing and how it is installed stand in the message."""
    from click.testing import CliRunner

    from recd.cli import main, ui

    monkeypatch.setattr(ui, "_NEEDED", ("aiohttp", "not_installed_here"))
    done = CliRunner().invoke(main, ["ui"])
    assert "not_installed_here" in str(done.exception) + done.output
    assert "recd[ui]" in str(done.exception) + done.output


def test_every_module_of_the_page_is_fetched_at_once() -> None:
    """None waits until another one that imports it has come: the page names them all."""
    static = Path(__file__).parents[2] / "recd" / "ui" / "static"
    page = (static / "index.html").read_text()
    for module in [*static.glob("*.js"), *static.glob("vendor/*.js")]:
        assert f'"/static/{module.relative_to(static)}"' in page
