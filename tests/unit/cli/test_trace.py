"""`linly trace` as a user calls it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sentencepiece

from linly.cli.main import main
from linly.runs.runs import RunFolder
from tests.support.mixed_run import write_mixed_run


@pytest.fixture(scope="module")
def run(
    tiny_recipe: Path, tiny_tokenizer_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Two steps whose row 17 is the worst, and a log with a skipped step and a jump."""
    path = tmp_path_factory.mktemp("runs") / "run"
    write_mixed_run(
        tiny_recipe,
        tiny_tokenizer_path,
        path,
        num_steps=16,
        loss=lambda mixed: 99.0 if mixed.index == 17 else 1.0 + mixed.index % 12 / 100,
    )
    (path / "metrics.jsonl").unlink()
    folder = RunFolder.create_or_open(path)
    for step in range(1, 17):
        loss = {12: 60.0, 15: 4.0}.get(step, 2.0)
        folder.append(
            "metrics", {"step": step, "loss_by_source": {"texts": loss}, "skipped": step == 12}
        )
    folder.append("events", {"step": 12, "kind": "skip", "text": "loss of texts is 60.000"})
    folder.close()
    return path


def linly_trace(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["trace", *map(str, arguments)])
    printed = capsys.readouterr()
    return int(caught.value.code or 0), printed.out, printed.err


def test_the_rows_of_a_step_come_worst_first_with_their_text(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, output, _ = linly_trace(capsys, run, "--step", "2", "--top", "2")
    assert code == 0
    heads = [line for line in output.splitlines() if line.startswith("step ")]
    assert len(heads) == 2
    assert heads[0].startswith("step 2  row 17  ")
    assert "loss 99.0000 over" in heads[0]
    code, output, _ = linly_trace(capsys, run, "--step", "2", "--json")
    found = json.loads(output)
    assert found["step"] == 2
    assert len(found["rows"]) == 10
    document = found["rows"][0]["documents"][0]
    of_text = {"text", "num_tokens", "num_supervised"}
    assert set(document) == {"shard", "record", "start", "end"} | of_text
    assert document["text"]


def test_long_texts_are_shortened_unless_asked_in_full(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = []
    for step in range(1, 9):
        found = json.loads(linly_trace(capsys, run, "--step", str(step), "--json")[1])
        texts += [d["text"] for row in found["rows"] for d in row["documents"]]
        if max(map(len, texts)) > 240:
            break
    longest = max(texts, key=len)
    assert len(longest) > 240, "no text long enough to be shortened"
    short = linly_trace(capsys, run, "--step", str(step), "--top", "12")[1]
    assert " [...] " in short
    assert longest not in short
    full = linly_trace(capsys, run, "--step", str(step), "--top", "12", "--full")[1]
    assert longest.split("\n")[0] in full
    assert " [...] " not in full


def test_spikes_are_the_skipped_steps_and_with_a_factor_lesser_jumps(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [
        json.loads(line) for line in linly_trace(capsys, run, "--spikes", "--json")[1].splitlines()
    ]
    assert [(spike["step"], spike["skipped"]) for spike in found] == [(12, True)]
    assert found[0]["reason"] == "loss of texts is 60.000"
    assert len(found[0]["rows"]) == 3
    output = linly_trace(capsys, run, "--spikes", "--factor", "1.5")[1]
    assert "step 12 skipped: loss of texts is 60.000" in output
    assert "step 15 applied: loss of texts is 4.000, over 1.5 times the median 2.000" in output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "either --step N or --spikes"),
        (("--step", "1", "--spikes"), "either --step N or --spikes"),
        (("--step", "1", "--factor", "2"), "--factor is allowed only with --spikes"),
        (("--step", "17"), "step 17 is not in the row record (it holds steps up to 16"),
        (("--step", "1", "--rank", "7"), "rank 7 has no row of step 1"),
        (("--step", "1", "--data-root", "/nowhere"), "before its first record: /nowhere"),
    ],
)
def test_what_cannot_be_shown_is_said(
    run: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], expected: str
) -> None:
    code, _, error = linly_trace(capsys, run, *arguments)
    assert code == 1
    assert expected in error


def test_what_a_terminal_would_obey_is_shown_as_text(
    tiny_recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the river and the mountain"]),
        model_prefix=str(tmp_path / "bytes"),
        model_type="bpe",
        vocab_size=300,
        byte_fallback=True,
        hard_vocab_limit=False,
        normalization_rule_name="identity",  # the usual one takes such characters out
        minloglevel=2,
    )
    shutil.copytree(tiny_recipe.parent, tmp_path / "world")
    evil = tmp_path / "world" / "data" / "handful" / "handful.txt"
    evil.write_bytes("\x1b]0;owned\x07山水\n日月\n春江\n".encode())
    recipe = tmp_path / "world" / "recipe.yaml"
    rows = write_mixed_run(recipe, tmp_path / "bytes.model", tmp_path / "run", num_steps=8)
    whole = (
        mixed.index
        for mixed in rows
        for span, after in zip(mixed.row.spans, mixed.row.spans[1:], strict=False)
        if (mixed.row.source, span.record, span.start) == ("handful", 0, 0) and after.start == 0
    )
    step = next(whole) // 12 + 1
    for full in ((), ("--full",)):
        code, output, _ = linly_trace(
            capsys, tmp_path / "run", "--step", str(step), "--top", "12", *full
        )
        assert code == 0
        assert r"\x1b]0;owned\x07山水" in output
        assert "\x1b" not in output
        assert "\x07" not in output


def test_it_needs_no_torch(run: Path) -> None:
    program = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'deepspeed', 'plotly'):\n"
        "    sys.modules[name] = None\n"
        "from linly.cli.main import main\n"
        "for asked in (['--step', '1'], ['--spikes']):\n"
        "    try:\n"
        f"        main(['trace', {str(run)!r}, *asked])\n"
        "    except SystemExit as ended:\n"
        "        assert not ended.code\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "step 1  row" in done.stdout
    assert "step 12 skipped" in done.stdout
