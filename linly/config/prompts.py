"""What a run is asked to go on with at every evaluation, unless its recipe says otherwise.

Knowledge, information extraction and code, in English and in Chinese: one look at the answers
shows what a language has gained and whether the other has lost. They are texts to be continued,
since a model in continual pre-training follows no instructions yet.
"""

from __future__ import annotations

DEFAULT_PROMPTS = (
    "Question: Which planet of the solar system is the largest?\nAnswer:",
    "Water boils at a lower temperature on a high mountain because",
    "问题：太阳系中最大的行星是哪一颗？\n回答：",
    "在高山上，水的沸点比较低，这是因为",
    'Text: "Marie Curie was born in Warsaw in 1867 and won two Nobel Prizes."\n'
    "Person: Marie Curie\nPlace of birth: Warsaw\nYear of birth:",
    "文本：“李白，字太白，公元701年出生，唐代诗人，代表作有《静夜思》。”\n"
    "人物：李白\n朝代：唐代\n代表作：",
    'def is_palindrome(text: str) -> bool:\n    """Whether a text reads the same backwards."""\n',
    "# 计算列表中所有偶数之和\ndef sum_of_even(numbers):\n",
)
