"""The two languages of a run: the one that its model keeps, and the one that it learns.

They decide how a run is described (the order of languages, the verdict of `linly compare`) and its
default prompts. Rows, losses and weights do not depend on them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, ValidationError, model_validator

from linly.config.yaml.json_forms import ALLOWED, JsonForm, JsonSchema
from linly.config.yaml.quantities import Text
from linly.config.yaml.strict_model import Model, found, problem

LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
LANGUAGE_FORM = "a language code such as zh, en or zh-Hant"
UNKNOWN_LANGUAGE = "?"
"""Stands in a corpus file for a language that could not be guessed; such a file is refused."""


def wrong_language(written: str) -> str:
    """Return the problem of a text that is not a code; a known name is answered with its code."""
    names = {known.name.lower(): code for code, known in KNOWN_LANGUAGES.items()}
    code = names.get(written.lower())
    return found(written, LANGUAGE_FORM if code is None else f"a language code such as {code}")


def _check_language(written: str) -> str:
    if not LANGUAGE.fullmatch(written):
        raise problem(wrong_language(written))
    return written


def _language_schema() -> JsonSchema:
    return {"type": "string", "pattern": f"^{LANGUAGE.pattern}$", ALLOWED: LANGUAGE_FORM}


Language = Annotated[Text, AfterValidator(_check_language), JsonForm(_language_schema)]
"""Code of a language (BCP 47), as corpus files have it."""


class Languages(Model):
    """The languages between which a run moves its model.

    Attributes:
        kept: Language that the model knows; its change is forgetting.
        learned: Language that the model learns.
    """

    kept: Language = "en"
    learned: Language = "zh"

    @model_validator(mode="after")
    def _check(self) -> Languages:
        if self.kept == self.learned:
            raise problem(found(self.learned, "a language other than the kept one"), "learned")
        return self

    @property
    def both(self) -> tuple[str, str]:
        """The kept language, then the learned one."""
        return self.kept, self.learned

    def ordered(self, names: Iterable[str]) -> list[str]:
        """Sort languages: the kept one, the learned one, the others by code."""
        return sorted(names, key=lambda name: (name != self.kept, name != self.learned, name))


def recipe_languages(recipe: Mapping[str, Any]) -> Languages:
    """Languages of a recipe's file form; the defaults if an earlier version wrote it."""
    return Languages.model_validate(recipe.get("languages", {}))


class KnownLanguage(NamedTuple):
    """English name of a language, and prompts in it."""

    name: str
    prompts: tuple[str, ...]


def language_name(language: str) -> str:
    """English name of a language, or its code if the name is not known here."""
    known = KNOWN_LANGUAGES.get(language)
    return known.name if known else language


def default_prompts(*languages: str) -> tuple[str, ...]:
    """Prompts for a model to complete at every evaluation; none for a language not listed here.

    They ask for knowledge, an explanation, information from a text, and code. The completions show
    whether one language has improved and the other has become worse. They are texts to continue,
    since a model in continual pre-training does not follow instructions yet.
    """
    return tuple(
        prompt
        for language in languages
        if language in KNOWN_LANGUAGES
        for prompt in KNOWN_LANGUAGES[language].prompts
    )


def with_prompts(value: dict[str, Any]) -> dict[str, Any]:
    """Fill in the prompts of a recipe's languages."""
    evaluation = value.get("evaluation", {})
    try:
        prompts = default_prompts(*recipe_languages(value).both)
    except ValidationError:  # the field's own validation reports it
        return value
    if not isinstance(evaluation, dict):
        return value
    return {**value, "evaluation": {"prompts": prompts, **evaluation}}


_SUM_OF_EVEN = "def sum_of_even(numbers):\n"

KNOWN_LANGUAGES = {
    "en": KnownLanguage(
        "English",
        (
            "Question: Which planet of the solar system is the largest?\nAnswer:",
            "Water boils at a lower temperature on a high mountain because",
            'Text: "Marie Curie was born in Warsaw in 1867 and won two Nobel Prizes."\n'
            "Person: Marie Curie\nPlace of birth: Warsaw\nYear of birth:",
            "def is_palindrome(text: str) -> bool:\n"
            '    """Whether a text reads the same backwards."""\n',
        ),
    ),
    "zh": KnownLanguage(
        "Chinese",
        (
            "问题：太阳系中最大的行星是哪一颗？\n回答：",
            "在高山上，水的沸点比较低，这是因为",
            "文本：“李白，字太白，公元701年出生，唐代诗人，代表作有《静夜思》。”\n"
            "人物：李白\n朝代：唐代\n代表作：",
            f"# 计算列表中所有偶数之和\n{_SUM_OF_EVEN}",
        ),
    ),
    "ja": KnownLanguage(
        "Japanese",
        (
            "質問：太陽系で最も大きい惑星は何ですか。\n回答：",
            "高い山の上では水の沸点が低くなる。その理由は",
            "文章：「紫式部は平安時代の作家で、『源氏物語』を書いた。」\n"
            "人物：紫式部\n時代：平安時代\n作品：",
            f"# リストに含まれる偶数の合計を計算する\n{_SUM_OF_EVEN}",
        ),
    ),
    "ko": KnownLanguage(
        "Korean",
        (
            "질문: 태양계에서 가장 큰 행성은 무엇인가요?\n답변:",
            "높은 산에서는 물이 더 낮은 온도에서 끓는다. 그 이유는",
            "글: “세종대왕은 조선의 제4대 왕으로, 1443년에 훈민정음을 창제하였다.”\n"
            "인물: 세종대왕\n나라: 조선\n창제한 문자:",
            f"# 리스트에 있는 모든 짝수의 합을 구한다\n{_SUM_OF_EVEN}",
        ),
    ),
    "de": KnownLanguage(
        "German",
        (
            "Frage: Welcher Planet ist der größte im Sonnensystem?\nAntwort:",
            "Auf einem hohen Berg siedet Wasser bei einer niedrigeren Temperatur, weil",
            "Text: „Johann Sebastian Bach wurde 1685 in Eisenach geboren und starb in Leipzig.“\n"
            "Person: Johann Sebastian Bach\nGeburtsort: Eisenach\nGeburtsjahr:",
            f"# Berechnet die Summe aller geraden Zahlen einer Liste\n{_SUM_OF_EVEN}",
        ),
    ),
    "fr": KnownLanguage(
        "French",
        (
            "Question : Quelle est la plus grande planète du système solaire ?\nRéponse :",
            "En haute montagne, l'eau bout à une température plus basse parce que",
            "Texte : « Victor Hugo est né à Besançon en 1802 et a écrit Les Misérables. »\n"
            "Personne : Victor Hugo\nLieu de naissance : Besançon\nAnnée de naissance :",
            f"# Calcule la somme des nombres pairs d'une liste\n{_SUM_OF_EVEN}",
        ),
    ),
    "es": KnownLanguage(
        "Spanish",
        (
            "Pregunta: ¿Cuál es el planeta más grande del sistema solar?\nRespuesta:",
            "En lo alto de una montaña, el agua hierve a menor temperatura porque",
            "Texto: «Gabriel García Márquez nació en Aracataca en 1927 y escribió "
            "Cien años de soledad.»\n"
            "Persona: Gabriel García Márquez\nLugar de nacimiento: Aracataca\n"
            "Año de nacimiento:",
            f"# Calcula la suma de los números pares de una lista\n{_SUM_OF_EVEN}",
        ),
    ),
    "ru": KnownLanguage(
        "Russian",
        (
            "Вопрос: Какая планета Солнечной системы самая большая?\nОтвет:",
            "Высоко в горах вода кипит при более низкой температуре, потому что",
            "Текст: «Антон Чехов родился в Таганроге в 1860 году и написал „Вишнёвый сад“.»\n"
            "Человек: Антон Чехов\nМесто рождения: Таганрог\nГод рождения:",
            f"# Вычисляет сумму чётных чисел списка\n{_SUM_OF_EVEN}",
        ),
    ),
    "ar": KnownLanguage(
        "Arabic",
        (
            "سؤال: ما أكبر كوكب في المجموعة الشمسية؟\nجواب:",
            "يغلي الماء فوق الجبال العالية عند درجة حرارة أقل لأن",
            "النص: «وُلد نجيب محفوظ في القاهرة عام 1911 وفاز بجائزة نوبل في الأدب.»\n"
            "الشخص: نجيب محفوظ\nمكان الميلاد: القاهرة\nسنة الميلاد:",
            f"# حساب مجموع الأعداد الزوجية في قائمة\n{_SUM_OF_EVEN}",
        ),
    ),
    "th": KnownLanguage(
        "Thai",
        (
            "คำถาม: ดาวเคราะห์ดวงใดใหญ่ที่สุดในระบบสุริยะ\nคำตอบ:",
            "บนภูเขาสูง น้ำเดือดที่อุณหภูมิต่ำกว่าปกติ เพราะ",
            "ข้อความ: “สุนทรภู่เป็นกวีสมัยรัตนโกสินทร์ ผู้แต่งเรื่องพระอภัยมณี”\n"
            "บุคคล: สุนทรภู่\nสมัย: รัตนโกสินทร์\nผลงาน:",
            f"# หาผลรวมของจำนวนคู่ทั้งหมดในรายการ\n{_SUM_OF_EVEN}",
        ),
    ),
    "vi": KnownLanguage(
        "Vietnamese",
        (
            "Câu hỏi: Hành tinh nào lớn nhất trong hệ Mặt Trời?\nTrả lời:",
            "Trên núi cao, nước sôi ở nhiệt độ thấp hơn vì",
            "Văn bản: “Nguyễn Du là nhà thơ thời Nguyễn, tác giả của Truyện Kiều.”\n"
            "Nhân vật: Nguyễn Du\nThời đại: thời Nguyễn\nTác phẩm:",
            f"# Tính tổng các số chẵn trong danh sách\n{_SUM_OF_EVEN}",
        ),
    ),
    "id": KnownLanguage(
        "Indonesian",
        (
            "Pertanyaan: Planet apa yang terbesar di tata surya?\nJawaban:",
            "Di gunung yang tinggi, air mendidih pada suhu yang lebih rendah karena",
            "Teks: “Chairil Anwar lahir di Medan pada tahun 1922 dan menulis puisi Aku.”\n"
            "Tokoh: Chairil Anwar\nTempat lahir: Medan\nTahun lahir:",
            f"# Menghitung jumlah semua bilangan genap dalam daftar\n{_SUM_OF_EVEN}",
        ),
    ),
}
"""Languages that have a name and prompts here; others are shown by their code."""
