"""Texts on which tokenizers differ: blanks, control characters, partly known scripts, runs."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from linly.tokenization.model_file import SPACE

RUN_LENGTHS = (*range(1, 20), 24, 31, 32, 33, 47, 64, 65)

_WHOLE = (
    "",
    " ",
    "a",
    " a",
    "a ",
    "a    <br>",
    "\n",
    " \n ",
    "\r\n",
    "\t\tx",
    "hello world",
    "  hello  world  ",
    "<s>",
    "</s> and <unk> and <pad>",
    "<s>[INST] x [/INST]</s>",
    "<0x0A>",
    SPACE,
    f"a{SPACE}b",
    f"{SPACE} {SPACE}",
    "白日依山尽,黄河入海流。欲穷千里目,更上一层楼。",
    "人工智能是计算机科学、心理学、哲学等学科融合的交叉学科。",
    "繁體中文與简体中文 mixed with English，标点。",
    "深度学习deep learning模型,GPT-4の能力は?",
    "한국어 텍스트",
    "ภาษาไทย",
    "\u3000全角空格\u3000",
    "\u00a0\u200b\ufeff\u2028\u2029\u0085",
    "e\u0301 é \ufb01 ½ ﷽",
    "👩\u200d👩\u200d👧 😀 🇨🇳",
    "\U00020000\U0002a6d6",
    "\x00\x01\x7f",
    "def f(x):\n    return x  # ok\n\n\n\tif y:\n        pass\n",
    "3.14159 1,000,000 2023-10-01 １２３",
    "http://a.b/c?d=e&f=%20#g",
)

_ATOMS = (
    *" \n\t\r.,-_=<>/a1中的。，éя",
    "  ",
    "   ",
    "\n\n",
    " the",
    "The",
    "ing",
    "</s>",
    SPACE,
    "\u3000",
    "😀",
    "한",
    "\x00",
    "\u0301",
)


def torture_texts(pieces: Sequence[str], *, num_random: int = 2000) -> Iterator[str]:
    """Fixed hard texts, runs of repeated characters, and random strings; always the same.

    Args:
        pieces: Pieces of the vocabulary. A piece that repeats one character yields runs of many
            lengths, alone and inside text; random strings mix pieces with hard characters.
        num_random: Number of random strings of each of the two kinds.
    """
    yield from _WHOLE
    repeated = sorted({piece[0] for piece in pieces if len(piece) > 1 and len(set(piece)) == 1})
    for character in repeated:
        visible = " " if character == SPACE else character
        for length in RUN_LENGTHS:
            yield visible * length
            yield f"a{visible * length}b {visible * length}\n"
    yield from random_texts(pieces, num_random)


def random_texts(pieces: Sequence[str], num_texts: int, *, seed: int = 0) -> Iterator[str]:
    """Random strings: hard characters and pieces mixed, then code points of all planes."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    for _ in range(num_texts):
        atoms = (
            draw.choice(_ATOMS) if draw.random() < 0.6 else draw.choice(pieces).replace(SPACE, " ")
            for _ in range(draw.randint(1, 16))
        )
        yield "".join(atoms)
    for _ in range(num_texts):
        yield "".join(_random_character(draw) for _ in range(draw.randint(1, 12)))


def _random_character(draw: random.Random) -> str:
    code = draw.choice(
        (
            draw.randrange(0x20, 0x7F),
            draw.randrange(0x3000),
            draw.randrange(0x4E00, 0xA000),
            draw.randrange(0xE000, 0x110000),
            0x20,
            0x0A,
        )
    )
    return chr(code)
