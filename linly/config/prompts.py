"""Default prompts that the model completes at every evaluation.

They cover knowledge, information extraction and code, in English and in Chinese. The completions
show whether one language has improved and the other has become worse. They are texts to continue,
since a model in continual pre-training does not follow instructions yet.
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
