"""linly.data.guessing.guess_language: by script, by n-grams, or not clear."""

from __future__ import annotations

import pytest

from linly.data.guessing.guess_language import guess_language, language_shares

TEXTS = {
    "en": "The river runs to the sea past many old towns, and in spring the hills are green.",
    "de": "Der Fluss fließt an vielen alten Städten vorbei zum Meer, und im Frühling sind die "
    "Hügel grün.",
    "fr": "La rivière coule vers la mer en passant par de vieilles villes, et au printemps les "
    "collines sont vertes.",
    "es": "El río corre hacia el mar pasando por muchas ciudades antiguas, y en primavera las "
    "colinas están verdes.",
    "pt": "O rio corre para o mar passando por muitas cidades antigas, e na primavera as colinas "
    "estão verdes.",
    "it": "Il fiume scorre verso il mare passando per molte città antiche, e in primavera le "
    "colline sono verdi.",
    "vi": "Con sông chảy ra biển qua nhiều thành phố cổ, và vào mùa xuân những ngọn đồi xanh tươi.",
    "tr": "Nehir birçok eski kentin yanından denize akar ve ilkbaharda tepeler yeşildir.",
    "ru": "Река течёт к морю мимо многих старых городов, и весной холмы зелёные.",
    "uk": "Річка тече до моря повз багато старих міст, і навесні пагорби зелені.",
    "ar": "يجري النهر إلى البحر مرورا بالعديد من المدن القديمة، وفي الربيع تكون التلال خضراء.",
    "fa": "رودخانه از کنار شهرهای قدیمی بسیاری به دریا می‌ریزد و در بهار تپه‌ها سبز هستند.",
    "hi": "नदी कई पुराने शहरों से होकर समुद्र की ओर बहती है और वसंत में पहाड़ियाँ हरी होती हैं।",
    "ja": "川は多くの古い町を通って海に流れる。春には丘が緑になる。",
    "ko": "강은 많은 오래된 도시를 지나 바다로 흐르고 봄에는 언덕이 푸르다.",
    "th": "แม่น้ำไหลลงสู่ทะเลผ่านเมืองเก่าหลายแห่ง และในฤดูใบไม้ผลิเนินเขาก็เขียวขจี",
    "zh": "这条河流经许多古老的城镇流入大海，春天的山丘一片碧绿。",
}


@pytest.mark.parametrize("language", TEXTS)
def test_a_sentence_tells_its_language(language: str) -> None:
    assert guess_language([TEXTS[language]]) == language


@pytest.mark.parametrize("texts", [["taxi"], ["12345", "..."], [], ["A", "B", "C"]])
def test_too_little_text_is_not_clear(texts: list[str]) -> None:
    assert guess_language(texts) == "?"


def test_several_languages_are_not_clear_and_have_shares() -> None:
    texts = [TEXTS[language] * 4 for language in ("en", "de", "fr")]
    assert guess_language(texts) == "?"
    assert {*[*language_shares(texts)][:3]} == {"en", "de", "fr"}
    assert guess_language([*texts, *[TEXTS["de"] * 4] * 3]) == "de"


def test_short_texts_are_joined() -> None:
    assert guess_language(["Der Fluss.", "Die Stadt.", "Der Hügel ist grün."] * 10) == "de"


def test_chinese_with_english_words_is_chinese() -> None:
    assert (
        guess_language(["使用 Python 和 PyTorch 训练 transformer 模型，然后 fine-tune。"]) == "zh"
    )
