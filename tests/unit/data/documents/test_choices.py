"""Choices: a few of many, the same ones every time, and always the answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from linly.data.documents.choices import FEWEST, MOST, fewer_choices

LABELS = [f"标签{number}" for number in range(15)]
GOLDEN = ["标签0", "标签3", "标签4", "标签5", "标签7", "标签9", "标签14"]
GOLDEN_UNNAMED = ["其他", "标签7", "标签8", "标签12", "标签14"]


def kept(prompt: str) -> list[str]:
    return prompt.removeprefix("选项：").removesuffix("\n答案：").split("，")


def asked(choices: list[str], separator: str = "，") -> str:
    return f"选项：{separator.join(choices)}\n答案："


@given(
    st.lists(st.text("甲乙丙丁戊己庚", min_size=1, max_size=4), min_size=9, max_size=40),
    st.integers(min_value=0),
)
def test_four_to_eight_and_the_answer_stay_in_their_order(choices: list[str], which: int) -> None:
    answer = choices[which % len(choices)]
    found = kept(fewer_choices(asked(choices), choices, answer))
    others = [choice for choice in found if choice != answer]
    num_others = len(set(choices)) - 1
    assert found.count(answer) == 1
    assert min(FEWEST, num_others) <= len(others) <= MOST
    assert found == [choice for choice in dict.fromkeys(choices) if choice in found]


def test_all_numbers_and_all_choices_are_drawn() -> None:
    found = [
        kept(fewer_choices(f"{number}{asked(LABELS)}", LABELS, LABELS[0]).removeprefix(str(number)))
        for number in range(300)
    ]
    assert {len(choices) - 1 for choices in found} == set(range(FEWEST, MOST + 1))
    assert {choice for choices in found for choice in choices} == set(LABELS)


def test_the_draw_is_part_of_the_order_of_rows() -> None:
    assert kept(fewer_choices(asked(LABELS), LABELS, "标签3")) == GOLDEN
    assert kept(fewer_choices(asked(LABELS), LABELS, "其他")) == GOLDEN_UNNAMED


def test_up_to_eight_choices_stay_as_they_are() -> None:
    assert fewer_choices(asked(LABELS[:8]), LABELS[:8], LABELS[0]) == asked(LABELS[:8])
    assert fewer_choices("生成：", [], "文") == "生成："


def test_a_prompt_that_does_not_name_them_in_a_row_stays_as_it_is() -> None:
    prompt = "\n".join(f"{number}. {label}" for number, label in enumerate(LABELS))
    assert fewer_choices(prompt, LABELS, LABELS[0]) == prompt


def test_other_separators_are_known() -> None:
    for separator in (",", "、", "/"):
        found = fewer_choices(asked(LABELS, separator), LABELS, LABELS[0])
        assert FEWEST <= found.count(separator) <= MOST
