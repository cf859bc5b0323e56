"""Names that public datasets give to their fields, grouped by content."""

from __future__ import annotations

import re

MESSAGES = (
    "messages", "conversations", "conversation", "dialogue", "dialog", "chat", "chats", "turns",
    "data", "history", "items", "utterances", "对话",
)  # fmt: skip
TURN_KEYS = (
    ("role", "content"),
    ("from", "value"),
    ("role", "text"),
    ("speaker", "text"),
    ("from", "content"),
    ("role", "value"),
    ("role", "message"),
    ("speaker", "utterance"),
    ("author", "content"),
)
PAIR_KEYS = (
    ("human", "assistant"),
    ("user", "assistant"),
    ("question", "answer"),
    ("human", "gpt"),
    ("user", "bot"),
    ("input", "output"),
    ("prompt", "response"),
    ("instruction", "output"),
    ("问", "答"),
)
ASKED = (
    ("instruction", "output"),
    ("instruction", "response"),
    ("instruction", "answer"),
    ("instruction", "completion"),
    ("trans_instruction", "trans_output"),
    ("instruct", "output"),
    ("input", "target"),
    ("input", "output"),
    ("inputs", "targets"),
    ("inputs", "outputs"),
    ("source", "target"),
    ("prompt", "response"),
    ("prompt", "completion"),
    ("prompt", "output"),
    ("prompt", "answer"),
    ("prompt", "chosen"),
    ("query", "response"),
    ("query", "answer"),
    ("query", "answers"),
    ("query", "output"),
    ("question", "answer"),
    ("question", "answers"),
    ("question", "response"),
    ("question", "output"),
    ("question", "solution"),
    ("question", "best_answer"),
    ("problem", "solution"),
    ("user", "assistant"),
    ("human", "assistant"),
    ("ask", "answer"),
    ("title", "answer"),
    ("q", "a"),
    ("问", "答"),
    ("问题", "回答"),
    ("问题", "答案"),
    ("指令", "输出"),
    ("提问", "回答"),
)
"""Names of a question and its answer."""

GIVEN = ("input", "context", "trans_input", "passage", "desc", "背景", "输入")
"""Names of the input of an instruction."""

SYSTEM = ("system_prompt", "system", "system_message")
CHOICES = "answer_choices"
TEXTS = (
    "text", "content", "raw_content", "body", "article", "document", "正文", "文本", "内容",
)  # fmt: skip
TITLES = ("title", "标题", "headline")
_LANGUAGES = {
    "en": ("en", "eng", "english", "en-us", "en-gb", "英文", "英语"),
    "zh": ("zh", "zho", "cmn", "chinese", "mandarin", "zh-cn", "cn", "中文", "汉语"),
    "ja": ("ja", "jpn", "japanese", "日本語", "日语"),
    "ko": ("ko", "kor", "korean", "한국어", "韩语"),
    "th": ("th", "tha", "thai", "ไทย"),
    "vi": ("vi", "vie", "vietnamese"),
    "de": ("de", "deu", "ger", "german", "deutsch"),
    "fr": ("fr", "fra", "fre", "french"),
    "es": ("es", "spa", "spanish", "español"),
    "pt": ("pt", "por", "portuguese"),
    "ru": ("ru", "rus", "russian", "русский"),
    "ar": ("ar", "ara", "arabic", "العربية"),
    "it": ("ita", "italian"),  # `it`, `id` and `hi` have other meanings
    "id": ("ind", "indonesian"),
    "hi": ("hin", "hindi"),
    "tr": ("tr", "tur", "turkish"),
}
LANGUAGES = {
    language: (*names, *(f"{name}-text" for name in names), *(f"text-{name}" for name in names))
    for language, names in _LANGUAGES.items()
}
SIDES = (("source", "target"), ("src", "tgt"), ("src", "trg"), ("sentence1", "sentence2"))
"""Names of the two sides of a pair."""

WRAPPERS = frozenset(
    {
        "data", "dataset", "rows", "records", "examples", "items", "instances", "samples",
        "entries", "results", "documents", "docs", "articles", "texts", "corpus", "questions",
        "train", "training", "validation", "valid", "dev", "test",
    }
)  # fmt: skip
"""Names of fields that contain all records of a file."""

ABOUT = frozenset(
    {
        "id", "uid", "qid", "idx", "index", "key", "url", "uri", "link", "href", "source",
        "src_url", "path", "file", "filename", "hash", "md5", "sha1", "date", "time", "timestamp",
        "created", "created_at", "lang", "language", "license", "meta", "metadata", "split",
        "type", "category", "label", "topic", "author", "编号", "来源", "链接", "文件名", "时间",
    }
)  # fmt: skip
"""Names of fields that describe a record."""

_OTHERS = ("id", "url", "label", "idx", "category", "情感", "评论", "标签", "编号", "来源", "链接")
KNOWN_NAMES = frozenset(
    name
    for names in (*ASKED, GIVEN, SYSTEM, TEXTS, TITLES, *LANGUAGES.values(), _OTHERS)
    for name in names
    if len(name) > 1 or not name.isascii()
)
"""Names that only a header has; a letter may be the answer to a question."""

_BRACKETS = re.compile(r"[(（\[【<].*?[)）\]】>]")
_EDGES = re.compile(r"^[\W\d_]+|[\W\d_]+$")


def plain_name(name: str) -> str:
    """Return a field's name in lower case, without brackets, numbers and surrounding marks."""
    plain = _EDGES.sub("", _BRACKETS.sub("", name)).lower().replace(" ", "_")
    return plain.replace("_", "-") if plain.replace("_", "-") in KNOWN_DASHED else plain


KNOWN_DASHED = frozenset(name for names in LANGUAGES.values() for name in names if "-" in name)


def names_language(name: str, language: str) -> bool:
    """Check whether a field's name, or what is in brackets in it, names a language."""
    inner = (found[0][1:-1] for found in _BRACKETS.finditer(name))
    return not {plain_name(one).replace("_", "-") for one in (name, *inner)}.isdisjoint(
        LANGUAGES[language]
    )


def is_wrapper(name: str) -> bool:
    """Check whether a field of this name may contain all records of a file."""
    return not WRAPPERS.isdisjoint(plain_name(name).split("_"))


def is_about(name: str) -> bool:
    """Check whether a field of this name describes the record, such as `id` or `url`."""
    plain = plain_name(name)
    return not plain or plain in ABOUT or plain.endswith(("_id", "_url", "_hash", "_date"))
