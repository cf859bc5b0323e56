"""The report is one file, whole by itself, in which hostile names stay text."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from linly.errors import ConfigError
from linly.monitor.pages.run_report import write_report
from linly.runs.runs import RunFolder
from tests.support.synthetic_run import SyntheticRun

HOSTILE = "</script><img src=x onerror=document.title='owned'>"
MAX_BYTES = 8_000_000


class Page(HTMLParser):
    """Elements, attributes, scripts and visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.words.append(data)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    run = SyntheticRun(tmp_path_factory.mktemp("runs") / "small").whole()
    return write_report(run).read_text(encoding="utf-8")


def test_the_report_lies_in_the_run_or_where_it_is_wanted(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run", num_steps=30).whole()
    assert write_report(run) == run / "report.html"
    assert write_report(run, tmp_path / "other.html") == tmp_path / "other.html"
    assert (tmp_path / "other.html").stat().st_size < MAX_BYTES


def test_nothing_is_fetched(report: str) -> None:
    for tag, attributes in Page(report).tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "img")
        assert not {"src", "href", "srcset", "action"} & attributes.keys()


def test_the_policy_allows_just_the_two_scripts(report: str) -> None:
    page = Page(report)
    (policy,) = [
        attributes["content"]
        for tag, attributes in page.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "http" not in policy
    data, *running = page.scripts
    assert json.loads(data)
    hashes = {
        "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in running
    }
    assert set(re.findall(r"'(sha256-[^']+)'", policy)) == hashes
    assert len(hashes) == 2
    assert "'unsafe-eval'" not in policy
    script_rule = re.search(r"script-src ([^;]*)", policy)
    assert script_rule and "unsafe" not in script_rule[1]


def test_the_headline_figures_are_those_of_the_run(report: str) -> None:
    words = Page(report).words
    for expected in (
        "Chinese, bits per byte",
        "−44.3%",
        "1.918 → 1.068, lower is better",
        "English, bits per byte",
        "+4.6%",
        "on plan",
        "drift at most 0.73 of 0.75 row",
        "2.05M",
        "of 2.05M planned, 500 steps",
    ):
        assert expected in words


def test_the_report_holds_what_the_run_left(report: str) -> None:
    text = html.unescape(report)
    for expected in (
        "curve: cosine, from: 75%",
        "lr: 1e-4",
        "北京是",
        "中国的首都",
        "field output is empty",
        "node-1",
        "2.13.0",
        "loss 10 deviations above",
        "8,000 rows up to step 500; every counter agrees",
    ):
        assert expected in text


def test_parts_without_content_collapse(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run", num_steps=20)
    run.train(1, 15)  # no evaluation, no bad record
    for step, text in ((0, " "), (15, "")):
        sample = {"step": step, "time": 0.0, "prompt": "Silence is", "text": text}
        run.folder.append("samples", sample)
    page = Page(write_report(run.path).read_text(encoding="utf-8"))
    assert not {"Samples", "Quarantine", "Decisions", "bits per byte before"} & {*page.words}
    assert any("No record was bad." in words for words in page.words)
    run.folder.append("samples", sample | {"prompt": "One more is", "text": "said"})
    page = Page(write_report(run.path).read_text(encoding="utf-8"))
    assert {"Samples", "One more is", "1 more prompt was answered with no text."} <= {*page.words}
    assert "Silence is" not in page.words


def test_a_hostile_name_is_text_in_page_and_charts(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run", num_steps=40, chinese=HOSTILE, with_curriculum=False)
    run.start()
    run.train(1, 40)
    stamp = {"step": 40, "time": 0.0}
    run.folder.append("events", stamp | {"kind": HOSTILE, "text": HOSTILE})
    run.folder.append("samples", stamp | {"prompt": HOSTILE, "text": HOSTILE})
    run.folder.append("quarantine", stamp | {"row": 1, "source": HOSTILE, "reason": HOSTILE})
    details = {"machine": {HOSTILE: HOSTILE}, "versions": {HOSTILE: [HOSTILE]}}
    run.folder.append("events", stamp | {"kind": "start", "text": ""} | details)
    (tmp_path / "run" / "recipe.yaml").write_text(f"name: {HOSTILE}\n", encoding="utf-8")
    text = write_report(tmp_path / "run").read_text(encoding="utf-8")
    page = Page(text)
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert not [name for _, attributes in page.tags for name in attributes if name[:2] == "on"]
    assert page.words.count(HOSTILE) >= 8
    data = page.scripts[0]
    assert "<" not in data and ">" not in data
    names = [trace.get("name") for trace in json.loads(data)["mixture"]["data"]]
    assert html.escape(HOSTILE, quote=False) in names


def test_a_hostile_run_name_is_text(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "<img src=x onerror=alert(1)>", num_steps=20).whole()
    page = Page(write_report(run).read_text(encoding="utf-8"))
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert "<img src=x onerror=alert(1)>" in page.words


def test_many_steps_do_not_make_a_large_report(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run", num_steps=3000).whole()
    assert write_report(run).stat().st_size < 5_500_000


def test_a_missing_run_is_an_error_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run at"):
        write_report(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_a_report_of_a_run_that_is_being_written(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run")
    run.start()
    run.train(1, 130)
    with (tmp_path / "run" / "metrics.jsonl").open("ab") as log:
        log.write(b'{"step":')
    with RunFolder.create_or_open(tmp_path / "run").lock():
        text = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "26% of the plan, step 130" in text


def test_a_hostile_decision_is_text(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run", num_steps=20)
    run.start()
    run.train(1, 20)
    change = {"key": HOSTILE, "before": "a", "now": HOSTILE}
    line = {"step": 20, "kind": "resume", "evaluated_step": 20, "changes": [change]}
    run.folder.append("decisions", line | {"set_aside": [HOSTILE]})
    page = Page(write_report(tmp_path / "run").read_text(encoding="utf-8"))
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert f"{HOSTILE}: a to {HOSTILE}; set aside {HOSTILE}" in page.words
