"""The page of samples: which rows it draws, what it marks, and that nothing in a row becomes markup."""

from __future__ import annotations

import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

from typer.testing import CliRunner

from kintsugi.cli import app
from kintsugi.samples import draw, page
from pipeline.records import CorruptionRecord, PreferenceRecord, Row
from pipeline.sources.builtin import build
from pipeline.sources.exports import to_corruption
from pipeline.spans import Edit, Span, apply
from pipeline.stages.embed import EmbedStage, Number

RUN = CliRunner()
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>&amp;\u202e\x00\x1b[31m"


def row(number: int, error_type: str, good: str = "So:\n\n```python\nx = 1\n```\n", new: str = "2") -> CorruptionRecord:
    start = good.index("1")
    edits = (Edit(start, start + 1, "1", new, error_type, 0, "static", f"seen in {number}"),)
    return CorruptionRecord(f"r{number}", f"ask {number}", good, apply(edits, good), edits, "s")


class Reader(HTMLParser):
    """Counts tags, and gathers the text of each answer and of its marks."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.inside: list[str] = []
        self.answers: list[str] = []
        self.marks: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        if tag == "article":
            self.answers.append("")
        if tag == "mark":
            self.marks.append("")
        if tag not in ("meta", "link", "path"):
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag == "path" or self.inside.pop() == tag

    def handle_data(self, data: str) -> None:
        if "article" in self.inside and "h4" not in self.inside:
            self.answers[-1] += data
        if "mark" in self.inside:
            self.marks[-1] += data


def squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def test_rare_types_are_seen_too_and_the_hash_of_the_id_decides_which_rows() -> None:
    rows = [row(number, "rare" if number in (3, 77) else "common") for number in range(100)]
    drawn = draw(rows, 10)
    assert Counter(span.error_type for one in drawn.rows for span in one.rejected_spans) == {"rare": 2, "common": 8}
    assert draw(rows[::-1], 10).rows == drawn.rows
    assert drawn.counts.types == {"rare": 2, "common": 98}
    only = draw(rows, 10, "rare")
    assert {one.id for one in only.rows} == {"r3", "r77"} and only.counts.rows == 100


def test_a_row_with_several_types_is_shown_once() -> None:
    made = EmbedStage((), 0, Number(2, 3), "static")(build(12, 0))[0]
    drawn = draw(made, 40)
    assert len(drawn.rows) == len({one.id for one in drawn.rows}) == len(made)


def test_both_answers_are_shown_whole_with_their_marks() -> None:
    made = EmbedStage((), 0, Number(1, 3), "static")(build(12, 0))[0]
    drawn = draw(made, 5)
    read = Reader(page("mine", drawn))
    texts = [text for pair in drawn.rows for text in (pair.chosen, pair.rejected)]
    assert [squeezed(answer) for answer in read.answers] == [squeezed(text) for text in texts]
    spans = [span for pair in drawn.rows for span in (*pair.chosen_spans, *pair.rejected_spans)]
    assert squeezed("".join(read.marks)) == squeezed("".join(span.text for span in spans))
    assert read.marks.count("") == sum(span.start == span.end for span in spans)
    for pair in drawn.rows:
        for edit in json.loads(pair.provenance)["edits"]:
            assert edit["level"] in page("mine", drawn) and edit["error_type"] in page("mine", drawn)


def test_nothing_that_a_row_holds_becomes_markup() -> None:
    good = f"{HOSTILE} 1 `{HOSTILE}`\n\n```python\n# {HOSTILE}\n```\n"
    edit = Edit(0, len(HOSTILE), HOSTILE, HOSTILE[::-1], HOSTILE, 0, HOSTILE, HOSTILE)
    record = CorruptionRecord(HOSTILE, HOSTILE, good, apply([edit], good), (edit,), "s")
    plain_tags = Reader(page("x", draw([row(1, "t", good="`1`, 1\n\n```python\n# 1\n```\n")], 5))).tags
    text = page(HOSTILE, draw([record], 5))
    read = Reader(text)
    assert read.tags["script"] == read.tags["img"] == 0
    assert set(read.tags) == set(plain_tags)
    assert "\u202e" not in text and "\x00" not in text and "\x1b" not in text, "shown, not obeyed"
    assert "&lt;script&gt;" in text


def test_the_page_allows_nothing_but_its_own_style() -> None:
    text = page("x", draw([row(1, "t")], 5))
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    assert "default-src &#39;none&#39;" in policy and "script-src" not in policy and "style-src &#39;sha256-" in policy
    assert not re.findall(r"(?:src|href)=\"(?!#|data:,)", text) and "style=" not in text and "url(" not in text


def test_types_lead_to_their_first_sample() -> None:
    text = page("x", draw([row(1, "b"), row(2, "a"), row(3, "a")], 2))
    assert re.findall(r'<a href="#(s\d)">(\w) <b>(\d)</b>', text) == [("s1", "a", "2"), ("s2", "b", "1")]


def test_pairs_without_edits_have_pages_too() -> None:
    pair = PreferenceRecord("p", "q", "good 1", "bad 1", (Span(0, 4, "tone", "good"),), (Span(0, 3, "tone", "bad"),))
    read = Reader(page("x", draw([pair], 5)))
    assert read.marks == ["good", "bad"]


def write(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    return path


def test_view_writes_the_page(tmp_path: Path) -> None:
    data = write(tmp_path / "broken.jsonl", [to_corruption(row(number, "a")) for number in range(9)])
    target = tmp_path / "samples.html"
    done = RUN.invoke(app, ["view", str(data), "--html", str(target), "--rows", "4"])
    assert done.exit_code == 0 and "(4 samples)" in done.output
    text = target.read_text(encoding="utf-8")
    assert text.count('class="sample"') == 4 and "4 of 9 rows" in text and "<h1>broken.jsonl</h1>" in text
    again = RUN.invoke(app, ["view", str(data), "--html", str(target), "--rows", "4"])
    assert "this exists already" in str(again.exception)
    assert RUN.invoke(app, ["view", str(data), "--html", str(target), "--rows", "4", "--force"]).exit_code == 0
    assert target.read_text(encoding="utf-8") == text, "the same rows give the same bytes"
    none = RUN.invoke(app, ["view", str(data), "--html", str(tmp_path / "no.html"), "--error-type", "b"])
    assert "no rows with the error type 'b'" in str(none.exception)


def test_questions_have_no_page(tmp_path: Path) -> None:
    data = write(tmp_path / "qa.jsonl", [{"prompt": "p", "response": "r"}])
    done = RUN.invoke(app, ["view", str(data), "--html", str(tmp_path / "no.html")])
    assert "QARecord rows" in str(done.exception)
