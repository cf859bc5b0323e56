"""The worked examples of CONTRIBUTING.md do what they say, applied to a copy of the package."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.examples import followed, output_of, run_tests, section


def test_a_metric_takes_two_files(tmp_path: Path) -> None:
    files = followed("Add a metric", tmp_path)
    assert len(files) == 2
    output = run_tests(
        tmp_path,
        "-vv",
        "tests/unit/records/test_metrics.py",
        "tests/unit/training/recording/test_run_counts.py",
        "tests/unit/training/recording/test_plotted_run.py::test_a_run_writes_every_metric",
    )
    for promise in ("is_shown_or_says_why_not", "with_a_tag_is_exported"):
        assert f"test_a_metric_{promise}[StepRecord-supervised_fraction] PASSED" in output


def test_a_curve_takes_two_places_of_one_file(tmp_path: Path) -> None:
    assert followed("Add a curve", tmp_path) == ["linly/config/shapes.py"]
    output = run_tests(tmp_path, "-vv", "-k", "power", "tests/unit/config/test_shapes.py")
    for promise in (
        "maths_of_every_kind_hold_by_default",
        "the_file_form_of_every_kind_reads_back_equal",
        "a_guard_is_refused_exactly_where_a_curve_both_rises_and_falls",
    ):
        assert f"test_{promise}[power] PASSED" in output


def test_a_format_takes_two_files_and_a_sample(tmp_path: Path) -> None:
    files = followed("Add a format", tmp_path)
    assert [file for file in files if file.startswith("linly/")] == [
        "linly/config/shard_formats.py",
        "linly/data/reading/formats.py",
    ]
    assert len(files) == 3
    output = run_tests(
        tmp_path, "-vv", "-k", "json-seq or sample", "tests/unit/data/reading/test_every_format.py"
    )
    for promise in (
        "any_record_can_be_the_first",
        "memory_does_not_grow_with_the_shard",
        "a_spoiled_record_is_named_and_never_given",
        "an_over_long_record_is_named_and_never_given",
    ):
        assert f"test_{promise}[json-seq] PASSED" in output
    run_tests(tmp_path, "-m", "not faults", "tests/faults/test_shard_fuzz.py")


def test_an_optimizer_takes_two_files(tmp_path: Path) -> None:
    assert len(followed("Add an optimizer", tmp_path)) == 2
    output = run_tests(
        tmp_path, "-vv", "-k", "rmsprop", "tests/unit/training/engine/test_optimizers.py"
    )
    for promise in (
        "the_state_is_what_torch_keeps_of_a_parameter",
        "a_loaded_checkpoint_steps_to_the_bit",
    ):
        assert f"test_{promise}[rmsprop] PASSED" in output


TEMPLATE = """
from linly.config.corpus import TEMPLATES
from linly.data.documents import templates
texts = (("instruction", "Add."), ("input", "1 2"), ("output", "3"))
assert "question" in TEMPLATES["instruction"]
for segment in templates.TEMPLATES["instruction"]["question"](texts, 0):
    print(repr(segment.text), segment.supervised)
"""


def test_a_template_takes_two_files(tmp_path: Path) -> None:
    assert len(followed("Add a template", tmp_path)) == 2
    wanted = "'Question: Add.\\n1 2\\nAnswer: ' False\n'3' True\n"
    assert output_of(tmp_path, "-c", TEMPLATE) == wanted


def test_a_command_takes_two_files(tmp_path: Path) -> None:
    assert len(followed("Add a command", tmp_path)) == 2
    form = re.compile(r"^```console\n\$ linly (.*?)\n(.*?)^```", re.MULTILINE | re.DOTALL)
    console = form.search(section("Add a command"))
    assert console is not None
    assert output_of(tmp_path, "-m", "linly.cli.main", *console[1].split()) == console[2]
