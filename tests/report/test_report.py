"""The page of a run, as a person sees it in a real browser."""

import itertools
import json
import re
import shutil
from datetime import datetime

import pytest

from conftest import ROOT

HEADINGS = ["Steps", "Types", "Files", "Throughput", "Errors", "Deletions", "Attempts", "Names and versions"]
EVIL = "<script>document.title='gone'</script><img src=http://127.0.0.1:1/x onerror=\"document.title='gone'\">"


def seconds(record, *path):
    for name in path:
        record = record[name]
    return datetime.fromisoformat(record).timestamp()


def assert_quiet(browser):
    assert browser.console() == []
    assert browser.requests() == []


def test_the_page_has_the_figures_of_the_record(browser, arrived):
    browser.open(arrived.page)
    record = arrived.record()
    assert browser.driver.title == f"Run {record['run']}: Imported"
    assert [heading.text for heading in browser.all("h2")] == HEADINGS
    assert browser.text("h1") == f"Run {record['run']}"
    figures = [figure.text for figure in browser.all(".figure")]
    resources = record["transfer"]["resources"]
    assert figures[0] == f"{sum(resources.values()):,}"
    assert figures[3] == str(len(record["attempts"]))
    rows = [[cell.text for cell in row.find_elements("css selector", "th, td")] for row in browser.all("#types tbody tr")]
    assert {row[0]: row[3] for row in rows} == {name: f"{count:,}" for name, count in resources.items()}
    # Imported with `overwrite`, so nothing was counted before.
    assert all(row[3] == row[5] and row[4] == "–" and row[6] == "imported" for row in rows)
    errors = browser.text("#errors")
    assert "warning" in errors and "3 attempts at files failed" in errors and "503" in errors
    assert "reports none" in browser.text("#deletions")
    names = browser.text("#names")
    for known in (record["run"], record["programs"][0], "Pathling Server", record["kickOffs"][0]["key"]):
        assert known in names


def test_each_step_and_each_file_is_drawn_where_it_was(browser, arrived):
    browser.open(arrived.page)
    record = arrived.record()
    steps = [label.text for label in browser.all("#steps .label") if label.text]
    assert steps == ["Export", "Transfer", "Import", "Count"]
    bars = browser.run(
        "return [...document.querySelectorAll('#steps rect:not(.ground)')]"
        ".map(bar => [bar.x.baseVal.value, bar.width.baseVal.value])"
    )
    began, ended = seconds(record["kickOffs"][0], "at"), seconds(record, "outcome", "at")
    of_all = lambda moment: (moment - began) / (ended - began) * 1000  # noqa: E731
    assert bars[0][0] == 0
    assert bars[0][1] == pytest.approx(of_all(seconds(record, "manifest", "complete")), abs=5)
    assert bars[1][0] == pytest.approx(of_all(seconds(record, "transferBegan")), abs=5)
    assert sum(bars[1]) == pytest.approx(of_all(seconds(record, "transfer", "staged")), abs=5)
    assert sum(bars[3]) == pytest.approx(1000, abs=5)
    done = [line for line in arrived.log() if line["eventId"] == "download_complete"]
    drawn = browser.run(
        "return [...document.querySelectorAll('#files rect:not(.ground) title')].map(title => title.textContent)"
    )
    assert len(drawn) == len(done) > 15
    assert sum("failed" in title for title in drawn) >= 1
    assert browser.all("#throughput rect.pace")
    browser.run("for (const details of document.querySelectorAll('details')) details.open = true")
    assert len(browser.all("#files tbody tr")) == len(done)


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("opened", [False, True])
def test_nothing_overlaps_is_cut_or_hard_to_read(browser, arrived, tmp_path, width, dark, opened):
    browser.open(arrived.page, width, dark)
    if opened:
        browser.run("for (const details of document.querySelectorAll('details')) details.open = true")
    seen = browser.look()
    assert seen["inner"] == width
    assert seen["scroll"] <= width
    assert len(seen["texts"]) > 60
    for text in seen["texts"]:
        left, right = text["card"]
        for box in text["boxes"] if not text["scrolls"] else []:
            assert left <= box[0] and box[2] <= right, text
        assert contrast(text["colour"], text["ground"]) >= 4.5, text
    boxes = [(text["text"], box) for text in seen["texts"] for box in text["boxes"]]
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        across = min(a[2], b[2]) - max(a[0], b[0])
        down = min(a[3], b[3]) - max(a[1], b[1])
        # What has scrolled out of its frame is hidden below what stands beside that.
        assert across < 1 or down < 3, (one, other)
    assert_quiet(browser)
    browser.screenshot(tmp_path / f"page-{width}.png")


def contrast(one, other):
    def light(colour):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    lighter, darker = sorted((light(one), light(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_who_does_not_see_it_is_told_the_same(browser, arrived):
    browser.open(arrived.page)
    assert browser.run("return document.documentElement.lang") == "en"
    assert len(browser.all("h1")) == 1
    for drawing in browser.all("svg"):
        assert drawing.get_attribute("role") == "img" and drawing.get_attribute("aria-label")
    for section in browser.all("section"):
        heading = section.find_element("css selector", "h2")
        assert section.get_attribute("aria-labelledby") == heading.get_attribute("id")
    for table in browser.all("table"):
        assert table.find_element("css selector", "caption")
        headings = table.find_elements("css selector", "thead th")
        assert all(heading.get_attribute("textContent") for heading in headings)
    for frame in browser.all(".frame"):
        assert frame.get_attribute("tabindex") == "0" and frame.get_attribute("aria-label")


def test_what_a_server_says_is_a_text_and_nothing_else(browser, staged):
    staged = staged("--pathling", "2", "--fault", "export-errors=errors")
    staged.command(SINCE="auto")
    record = staged.record()
    transfer, issues, attempt = record["transfer"], record["exportIssues"], record["attempts"][0]
    for counts in (transfer["resources"], transfer["bytesByType"], issues["bySeverity"], issues["byCode"]):
        counts[EVIL] = 7
    attempt["message"] = attempt["unverified"] = EVIL
    issues["first"][0]["text"] = "Anna was here"
    record["outcome"]["message"] = record["kickOffs"][0]["why"] = record["kickOffs"][0]["since"] = EVIL
    record["kickOffs"][0]["statusUrl"] += "?token=geheim"
    record["kickOffs"][0]["software"] = {"name": EVIL, "version": EVIL}
    staged.record_file().write_text(json.dumps(record))
    (log,) = staged.folder.glob("runs/*/_log.ndjson")
    events = log.read_text().replace('"resourceType":"Patient"', '"resourceType":' + json.dumps(EVIL))
    log.write_text(events)
    browser.open(staged.write_page())
    assert browser.driver.title == f"Run {record['run']}: Imported, with reservations"
    assert browser.all("script, img, iframe, link, object") == []
    for part in ("header", "#types", "#files", "#errors", "#names"):
        assert EVIL in browser.text(part), part
    whole = staged.page.read_text()
    assert "geheim" not in whole and "Anna" not in whole
    assert "?token=…" in browser.text("#names")
    for width in (1280, 400):
        browser.open(staged.page, width)
        seen = browser.look()
        assert seen["scroll"] <= width
    assert_quiet(browser)


def test_a_failed_run_shows_what_the_source_said_and_where_it_ended(browser, staged):
    staged = staged("--fault", "output-type=<script>document.title=1</script>")
    staged.command(code=1, SINCE="auto")
    browser.open(staged.write_page())
    record = staged.record()
    assert record["outcome"]["name"] == "ManifestError", record
    assert browser.driver.title == f"Run {record['run']}: Failed: ManifestError"
    assert record["outcome"]["message"] in browser.text("#errors .said")
    assert browser.all("#steps rect.failed")
    assert browser.all("script") == []
    assert_quiet(browser)


def test_a_run_of_an_older_version_without_its_log_has_a_page_too(browser, tmp_path, staged):
    staged = staged()
    shutil.copytree(ROOT / "tests/fixtures/records-of-0.1.0", staged.folder)
    browser.open(staged.write_page("--run", "2dc8e4a69ece8449"))
    assert [heading.text for heading in browser.all("h2")] == [name for name in HEADINGS if name != "Throughput"]
    assert "audit log is not there" in browser.text("#files")
    assert "43" in [figure.text for figure in browser.all(".figure")]
    assert_quiet(browser)


def test_a_page_that_loads_something_or_goes_wrong_would_be_seen(browser, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text("<!doctype html><title>bad</title><img src='http://127.0.0.1:1/x.png'><script>nothing()</script>")
    browser.open(page)
    assert any("nothing is not defined" in line for line in browser.console())
    assert browser.requests() == ["http://127.0.0.1:1/x.png"]
