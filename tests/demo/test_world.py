"""The embedded sample: the same bytes for a seed, real file forms, the same facts twice."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import zstandard

from demo import chinese, english
from demo.grammar import Grammar
from demo.lexicon import number
from demo.topics import ENCYCLOPEDIA, EVENTS, Fact, Topic
from demo.world import (
    Dice,
    World,
    direction,
    distance_km,
    make_family,
    make_person,
    make_world,
)
from demo.write import write_sample
from linly.errors import ConfigError

CJK = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder, seed=7, size="tiny")
    return folder


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(7)


@pytest.fixture(scope="module")
def topics(world: World) -> list[Topic]:
    dice = Dice("topics")
    return [dice.pick(ENCYCLOPEDIA + EVENTS)(world, dice) for _ in range(1500)]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def json_lines(path: Path) -> list[dict[str, object]]:
    data = path.read_bytes()
    if path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().decompress(data)
    return [json.loads(line) for line in data.splitlines()]


def test_a_seed_gives_the_same_bytes_again(sample: Path, tmp_path: Path) -> None:
    write_sample(tmp_path, seed=7, size="tiny")
    assert contents(tmp_path) == contents(sample)


def test_another_seed_gives_another_world_in_the_same_files(sample: Path, tmp_path: Path) -> None:
    write_sample(tmp_path, seed=8, size="tiny")
    other, first = contents(tmp_path), contents(sample)
    assert other.keys() == first.keys()
    assert all(other[path] != first[path] for path in first)


def test_records_have_the_keys_of_the_real_corpora(sample: Path) -> None:
    keys = {
        "slimpajama/train/chunk1/example_train_0.jsonl.zst": {"text", "meta"},
        "wiki2019zh/AA/wiki_00.jsonl": {"id", "url", "title", "text"},
        "baike2018qa/baike_qa_train_0.jsonl": {"qid", "category", "title", "desc", "answer"},
        "translation2019zh/translation2019zh_train_0.jsonl": {"english", "chinese"},
    }
    for path, expected in keys.items():
        assert all(set(record) == expected for record in json_lines(sample / path)), path
    for language in ("en", "zh"):
        records = json.loads((sample / f"alpaca/alpaca_data_{language}.json").read_bytes())
        assert all(set(record) == {"instruction", "input", "output"} for record in records)
    schema = pq.read_schema(sample / "refinedweb/data/train-00000-of-00003.parquet")
    assert schema.names == ["content", "url", "timestamp", "dump", "segment", "image_urls"]


def test_slimpajama_holds_programs_for_a_filter_to_leave_out(sample: Path) -> None:
    names = {
        record["meta"]["redpajama_set_name"]  # type: ignore[index]
        for path in sample.glob("slimpajama/train/chunk*/*.zst")
        for record in json_lines(path)
    }
    assert {"RedPajamaGithub", "RedPajamaCommonCrawl", "RedPajamaWikipedia"} <= names


def test_several_hundred_chinese_characters_are_in_use(topics: list[Topic]) -> None:
    dice = Dice("characters")
    text = "".join(chinese.GRAMMAR.body(topic.facts, dice) for topic in topics)
    assert len(set(CJK.findall(text))) > 600


def test_english_holds_no_chinese_and_no_unfilled_form(topics: list[Topic]) -> None:
    dice = Dice("english")
    for topic in topics:
        text = english.GRAMMAR.title(topic, dice) + english.GRAMMAR.body(topic.facts, dice)
        assert not CJK.search(text) and not set("{}") & set(text)


def test_both_languages_tell_the_same_kinds_and_values() -> None:
    for one, two in (
        (english.GRAMMAR.forms, chinese.GRAMMAR.forms),
        (english.GRAMMAR.questions, chinese.GRAMMAR.questions),
    ):
        assert one.keys() == two.keys()
        for kind in one:
            assert fields(one[kind]) == fields(two[kind]), kind


def fields(forms: tuple[str, ...]) -> set[str]:
    parsed = (name for form in forms for _, name, _, _ in string.Formatter().parse(form) if name)
    return {name.split(".")[0] for name in parsed}


def test_every_kind_of_fact_is_told_somewhere(topics: list[Topic]) -> None:
    told = {fact.kind for topic in topics for fact in topic.facts}
    assert told == english.FORMS.keys()


@pytest.mark.parametrize("grammar", [english.GRAMMAR, chinese.GRAMMAR], ids=["en", "zh"])
def test_every_form_can_be_filled(grammar: Grammar, topics: list[Topic]) -> None:
    examples: dict[str, Fact] = {fact.kind: fact for topic in topics for fact in topic.facts}
    for kind, fact in examples.items():
        for form in grammar.forms[kind] + grammar.questions.get(kind, ()):
            assert form.format_map(fact.values)


def test_a_subject_named_before_may_become_a_pronoun(world: World) -> None:
    person = make_person(world, Dice("a man"))
    likes = Fact("person_dish", {"s": person.name, "dish": person.dish.name}, person.pronoun)
    bodies = {english.GRAMMAR.body((likes, likes), Dice(seed)) for seed in range(200)}
    pronoun = person.pronoun.en.capitalize()
    named = f"{person.name.en} likes to eat {person.dish.name.en}. "
    assert named + f"{pronoun} likes to eat {person.dish.name.en}." in bodies
    assert not any(body.startswith(f"{pronoun} ") for body in bodies)


def test_directions_and_distances_agree_with_each_other(world: World) -> None:
    opposite = {"north": "south", "northeast": "southwest", "northwest": "southeast"}
    opposite |= {"east": "west"} | {b: a for a, b in opposite.items()} | {"west": "east"}
    for a, b in zip(world.towns, world.towns[1:], strict=False):
        assert distance_km(a, b) == distance_km(b, a)
        assert opposite[direction(a, b).en] == direction(b, a).en


def test_families_are_possible(world: World) -> None:
    for seed in range(300):
        family = make_family(world, Dice("family", seed))
        names = [person.name.zh for person in family.members]
        assert len(set(names)) == len(names)
        assert len({person.town.name.zh for person in family.members}) == 1
        for child in family.children:
            assert child.name.zh[0] == family.father.name.zh[0]
            assert child.born - max(family.father.born, family.mother.born) >= 15


@pytest.mark.parametrize(
    ("value", "english_text", "chinese_text"),
    [
        (0, "zero", "零"),
        (10, "ten", "十"),
        (12, "twelve", "十二"),
        (20, "twenty", "二十"),
        (99, "99", "九十九"),
        (100, "100", "100"),
        (34_100, "34,100", "34100"),
    ],
)
def test_numbers_are_read_as_in_each_language(
    value: int, english_text: str, chinese_text: str
) -> None:
    assert (number(value).en, number(value).zh) == (english_text, chinese_text)


def test_an_unknown_size_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found 'vast', allowed: tiny, small, large"):
        write_sample(tmp_path, seed=1, size="vast")
    assert not any(tmp_path.iterdir())
