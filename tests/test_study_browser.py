"""The rating sheet in a real Chromium: rated, left and come back to, saved as a rater's CSV."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from anydoor_lab.metrics.ratings import Questions, read_key, read_ratings
from anydoor_lab.report.study import QUESTIONS, write_sheet
from browser import lacking, page
from test_study import pictures

if lacking() and not os.environ.get("CI"):
    pytest.skip(lacking(), allow_module_level=True)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        del words


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder's address on this machine."""
    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_rater_fills_the_sheet_and_its_csv_is_read(width: int, tmp_path: Path) -> None:
    methods = {name: pictures(tmp_path / name, 60 * n) for n, name in enumerate("abc", 1)}
    sheet, key = write_sheet(methods, tmp_path / "out")
    with served(tmp_path / "out") as address, page(width) as opened:
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.on("console", lambda said: errors.append(said.text) if said.type == "error" else 0)
        opened.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        opened.goto(f"{address}/{sheet.name}")
        assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
        said = opened.locator("#said")
        assert said.text_content() == "27 ratings to go"
        opened.click("#save")
        assert "name first" in said.text_content()
        opened.fill("#rater", "ann")
        for number in range(26):
            field = opened.locator("fieldset").nth(number)
            field.locator("input").nth(number % 4).check()
        opened.click("#save")
        assert said.text_content() == "1 ratings are missing."
        opened.reload()  # what is rated stays
        assert said.text_content() == "1 ratings to go"
        opened.locator("fieldset").nth(26).locator("input").nth(2).check()
        with opened.expect_download() as saved:
            opened.click("#save")
        saved.value.save_as(tmp_path / "ann.csv")
        opened.screenshot(path=str(tmp_path / "sheet.png"))
        assert errors == []
    questions = Questions.read(tmp_path / "out" / QUESTIONS)
    ratings = read_ratings([tmp_path / "ann.csv"], read_key(key), questions=questions)
    assert len(ratings) == 27 and set(ratings["rater"]) == {"ann"}
    assert set(ratings["score"]) == {1, 2, 3, 4}
