"""Every shipped corpus file, on a shard of its dataset's real schema: the documents that come out.

The records are made here; keys, nesting, file names and encodings are those that are published.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from linly.data.documents.templates import (
    ALPACA_INPUT_PREAMBLE,
    ALPACA_PREAMBLE,
    DocumentMaker,
)
from linly.data.reading.shards import ShardReader, list_shards
from linly.data.types import BadRecord, Document, Filtered
from tests.support.tiny_corpora import load_corpora, source_of

CORPORA = load_corpora(Path(__file__).parents[4] / "corpora")
Made = list[tuple[str, bool]] | str
"""A document's (text, supervised) pairs; "filtered" or "bad" where there is none."""


def text(value: str) -> Made:
    return [(value, True)]


def asked(instruction: str, output: str, given: str = "") -> Made:
    preamble = ALPACA_INPUT_PREAMBLE if given else ALPACA_PREAMBLE
    middle = f"\n\n### Input:\n{given}" if given else ""
    prompt = f"{preamble}\n\n### Instruction:\n{instruction}{middle}\n\n### Response:"
    return [(prompt, False), (output, True)]


def chat(*turns: str) -> Made:
    segments: list[tuple[str, bool]] = []
    for user, assistant in zip(turns[::2], turns[1::2], strict=True):
        preamble = "" if segments else ALPACA_PREAMBLE
        prompt = f"{preamble}\n\n### Instruction:\n{user}\n\n### Response:"
        segments += [(prompt, False), (assistant, True)]
    return segments


def lines(*records: dict[str, Any]) -> bytes:
    return b"".join(orjson.dumps(record) + b"\n" for record in records)


def array(*records: dict[str, Any]) -> bytes:
    return orjson.dumps(records, option=orjson.OPT_INDENT_2)


def parquet(*records: dict[str, Any]) -> bytes:
    pq.write_table(pa.Table.from_pylist(list(records)), stream := io.BytesIO())
    return stream.getvalue()


def arrow(*records: dict[str, Any]) -> bytes:
    table = pa.Table.from_pylist(list(records))
    with pa.ipc.new_stream(stream := io.BytesIO(), table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


def comma_separated(*rows: list[str]) -> bytes:
    csv.writer(stream := io.StringIO()).writerows(rows)
    return stream.getvalue().encode("gb18030")


def tmx(*units: dict[str, str]) -> bytes:
    body = "".join(
        "<tu>"
        + "".join(f'<tuv xml:lang="{lang}"><seg>{seg}</seg></tuv>' for lang, seg in unit.items())
        + "</tu>"
        for unit in units
    )
    head = '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n'
    return f'{head}<tmx version="1.4"><header srclang="en"/><body>{body}</body></tmx>'.encode()


@dataclass(frozen=True)
class Case:
    """A dataset's shard and what its records become, in order.

    Attributes:
        files: Path below the data root -> bytes before compression.
        made: Of each record.
    """

    files: dict[str, bytes]
    made: list[Made]


def case(path: str, data: bytes, *made: Made) -> Case:
    return Case({path: data}, list(made))


CASES = {
    "slimpajama": case(
        "slimpajama/train/chunk1/example_train_0.jsonl.zst",
        lines(
            {"text": "a page", "meta": {"redpajama_set_name": "RedPajamaC4"}},
            {"text": "int x;", "meta": {"redpajama_set_name": "RedPajamaGithub"}},
            {"text": "a paper", "meta": {"redpajama_set_name": "RedPajamaArXiv"}},
        ),
        text("a page"), "filtered", text("a paper"),
    ),
    "refinedweb": case(
        "refinedweb/data/train-00000-of-05534-b8fc5348cbe605a5.parquet",
        parquet(
            {
                "content": "a page\n\nof two", "url": "http://a.b", "timestamp": 1370072040,
                "dump": "CC-MAIN-2013-20", "segment": "1368696381249", "image_urls": [["a", "b"]],
            }
        ),
        text("a page\n\nof two"),
    ),
    "wiki2019zh": case(
        "wiki_zh/AA/wiki_00",
        lines(
            {"id": "53", "url": "https://zh.wikipedia.org/wiki?curid=53", "title": "经济学",
             "text": "经济学\n\n经济学是一门社会科学。"}
        ),
        text("经济学\n\n经济学是一门社会科学。"),
    ),
    "news2016zh": case(
        "news2016zh/news2016zh_train.json",
        lines(
            {"news_id": "610130831", "keywords": "导游,门票", "title": "故宫淡季门票40元",
             "desc": "近日有网友。", "source": "新华网", "time": "03-22 12:00",
             "content": "近日有网友微博爆料。\n据了解。"}
        ),
        text("故宫淡季门票40元\n\n近日有网友微博爆料。\n据了解。"),
    ),
    "baike2018qa": case(
        "baike2018qa/baike_qa_train.json",
        lines(
            {"qid": "qid_1", "category": "教育", "title": "宇航员在月球上用什么通话?",
             "desc": "", "answer": "无线电。\r\n真空不传声。"},
            {"qid": "qid_2", "category": "教育", "title": "问?", "desc": "细节", "answer": "答。"},
        ),
        text("宇航员在月球上用什么通话?\n\n无线电。\n真空不传声。"), text("问?\n细节\n答。"),
    ),
    "webtext2019zh": case(
        "webtext2019zh/web_text_zh_train.json",
        lines(
            {"qid": 65618973, "title": "AlphaGo只会下围棋吗?", "desc": "它能写小说吗?",
             "topic": "机器人", "star": 3, "content": "AlphaGo只会下围棋。",
             "answer_id": 545576062, "answerer_tags": "人工智能"}
        ),
        text("AlphaGo只会下围棋吗?\n它能写小说吗?\nAlphaGo只会下围棋。"),
    ),
    "translation2019zh": case(
        "translation2019zh/translation2019zh_train.json",
        lines({"english": "One.", "chinese": "一。"}, {"english": "Two.", "chinese": "二。"}),
        text("一。\nOne."), text("Two.\n二。"),
    ),
    "wudao": case(
        "wudao/part-202101281a.json",
        array(
            {"id": 1, "uniqueKey": "a", "titleUkey": "b", "dataType": "经济", "title": "标题",
             "content": "正文。"},
            {"id": 2, "uniqueKey": "c", "titleUkey": "d", "dataType": "经济", "title": "",
             "content": "只有正文。"},
        ),
        text("标题\n\n正文。"), text("只有正文。"),
    ),
    "skypile": case(
        "skypile/data/2020-40_zh_head_0000.jsonl", lines({"text": "网页。\n第二段。"}),
        text("网页。\n第二段。"),
    ),
    "mnbvc": case(
        "mnbvc/law/judgement/0.jsonl.gz",
        lines(
            {"文件名": "a.txt", "是否待查文件": False, "是否重复文件": False, "文件大小": 64,
             "simhash": 1, "最长段落长度": 3, "段落数": 2, "去重段落数": 2, "低质量段落数": 0,
             "段落": [
                 {"行号": 0, "是否重复": False, "是否跨文件重复": False, "md5": "x",
                  "内容": "第一段"},
                 {"行号": 2, "是否重复": False, "是否跨文件重复": False, "md5": "y",
                  "内容": "第二段"},
             ]},
            {"文件名": "b.txt", "是否重复文件": True,
             "段落": [{"行号": 0, "是否重复": False, "md5": "x", "内容": "第一段"}]},
            {"文件名": "c.txt", "段落": [{"行号": 0, "md5": "z", "内容": "甲"}]},
        ),
        text("第一段\n第二段"), "filtered", text("甲"),
    ),
    "mnbvc-parallel": case(
        "mnbvc/parallel/un/0.jsonl.gz",
        lines(
            {"文件名": "a", "行号": 0, "zh_text": "一。", "en_text": "One."},
            {"文件名": "a", "行号": 1, "zh_text": "二。", "en_text": ""},
        ),
        text("一。\nOne."), "filtered",
    ),
    "cluecorpussmall": case(
        "cluecorpussmall/news_1.txt", "一篇文章。\n\n又一篇。\n".encode(),
        text("一篇文章。"), text("又一篇。"),
    ),
    "csl": case(
        "csl/csl_40k.tsv",
        '标题\t摘要中有 "引号" 。\t词一_词二\t电子科学\t工学\n'.encode(),
        text('标题\n\n摘要中有 "引号" 。'),
    ),
    "news-commentary": case(
        "news-commentary/news-commentary-v16.en-zh.tsv.gz",
        "One.\t一。\n\t\nAlone.\t\nTwo.\t二。\n".encode(),
        text("一。\nOne."), "filtered", text("Two.\n二。"),
    ),
    "unpc": Case(
        {"unpc/UNv1.0.en-zh.en": b"RESOLUTION 918\nAdopted.\n",
         "unpc/UNv1.0.en-zh.zh": "第918号决议\n通过。\n".encode()},
        [text("第918号决议\nRESOLUTION 918"), text("Adopted.\n通过。")],
    ),
    "ted2020": case(
        "ted2020/en-zh_cn.tmx.gz",
        tmx({"en": "Thank you.", "zh_cn": "谢谢。"}, {"en": "Tom &amp; I", "zh_cn": "我和汤姆"}),
        text("谢谢。\nThank you."), text("Tom & I\n我和汤姆"),
    ),
    "alpaca": case(
        "alpaca/alpaca_data.json",
        array(
            {"instruction": "Name a colour.", "input": "", "output": "Red."},
            {"instruction": "Translate.", "input": "rouge", "output": "red"},
        ),
        asked("Name a colour.", "Red."), asked("Translate.", "red", "rouge"),
    ),
    "belle": case(
        "belle/train_2M_CN.json", lines({"instruction": "问。\n", "input": "", "output": "答。"}),
        asked("问。\n", "答。"),
    ),
    "belle-hub": case(
        "belle-hub/train.jsonl", lines({"input": "问。", "target": "答。"}), asked("问。", "答。")
    ),
    "baize": case(
        "baize/quora_chat_data.json",
        array(
            {"topic": "cats?",
             "input": "The conversation between human and AI assistant.\n[|Human|] Hi\n"
             "[|AI|] Hello.\n[|Human|] A cat?\n[|AI|] Yes.\n[|Human|] "}
        ),
        chat("Hi", "Hello.", "A cat?", "Yes."),
    ),
    "instructionwild": case(
        "instructionwild/instinwild_ch.json",
        array({"instruction": "写诗", "input": "", "output": "好。"}), asked("写诗", "好。"),
    ),
    "flan": case(
        "flan/train/cot.jsonl",
        lines({"inputs": "Q: 1+1?\nA:", "targets": "2", "task": "cot"}), asked("Q: 1+1?\nA:", "2"),
    ),
    "coig": case(
        "coig/exam_instructions.jsonl",
        lines(
            {"textbox_q_instruction": "选出正确答案。", "textbox_q_context": "",
             "textbox_question": "一加一?", "textbox_answer": "二",
             "textbox_answer_analysis": "加法"}
        ),
        asked("选出正确答案。\n\n一加一?", "二\n加法"),
    ),
    "coig-translated": case(
        "coig/translated_instructions.jsonl",
        lines(
            {"trans_instruction": "回答。", "trans_input": "题", "trans_output": "答",
             "instruction": "Answer.", "input": "q", "output": "a"}
        ),
        asked("回答。", "答", "题"),
    ),
    "firefly": case(
        "firefly/firefly-train-1.1M.jsonl",
        lines({"kind": "Couplet", "input": "上联:山", "target": "水"}), asked("上联:山", "水"),
    ),
    "pclue": case(
        "pclue/pCLUE_train_1.json",
        lines(
            {"input": "分类:选项:甲,乙\n答案:", "target": "甲", "answer_choices": ["甲", "乙"],
             "type": "classify"},
            {"input": "生成:", "target": "文", "type": "generate"},
            {"input": "选项：甲，乙，丙，丁，戊，己，庚，辛，壬\n答案：", "target": "癸",
             "answer_choices": list("甲乙丙丁戊己庚辛壬"), "type": "classify"},
        ),
        asked("分类:选项:甲,乙\n答案:", "甲"), asked("生成:", "文"),
        asked("选项：甲，癸，丁，庚，辛，壬\n答案：", "癸"),
    ),
    "sharegpt": case(
        "sharegpt/ShareGPT_V3_unfiltered_cleaned_split.json",
        array(
            {"id": "a_0", "conversations": [
                {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."},
                {"from": "human", "value": "Bye"}, {"from": "gpt", "value": "See you."}]},
            {"id": "a_1", "conversations": [{"from": "gpt", "value": "…"}]},
        ),
        chat("Hi", "Hello.", "Bye", "See you."), "bad",
    ),
    "ultrachat": case(
        "ultrachat/data/train_sft-00000-of-00003.parquet",
        parquet(
            {"prompt": "Hi", "prompt_id": "f0", "messages": [
                {"content": "Hi", "role": "user"}, {"content": "Hello.", "role": "assistant"}]}
        ),
        chat("Hi", "Hello."),
    ),
    "medical-dialogue": case(
        "medical-dialogue/IM_内科/内科5000-33000.csv",
        comma_separated(
            ["department", "title", "ask", "answer"],
            ["心血管科", "高血压能吃党参吗?", "我有高血压,\n能吃吗?", "可以,\"不影响\"。"],
        ),
        asked("高血压能吃党参吗?\n我有高血压,\n能吃吗?", '可以,"不影响"。'),
    ),
    "wikipedia-zh": case(
        "wikipedia-zh/data-00000-of-00006.arrow",
        arrow({"id": "13", "url": "https://zh.wikipedia.org/wiki/数学", "title": "数学",
               "text": "数学是研究数量的学科。"}),
        text("数学\n\n数学是研究数量的学科。"),
    ),
}  # fmt: skip
COMPRESS = {
    ".zst": zstandard.ZstdCompressor().compress, ".gz": gzip.compress, ".bz2": bz2.compress
}  # fmt: skip


def test_every_shipped_corpus_has_a_case() -> None:
    assert set(CASES) == set(CORPORA)


@pytest.mark.parametrize("name", CASES)
def test_the_documents_of_a_dataset(tmp_path: Path, name: str) -> None:
    for path, data in CASES[name].files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        compress = COMPRESS.get(Path(path).suffix, bytes)
        (tmp_path / path).write_bytes(compress(data))
    corpus = CORPORA[name]
    (shard,) = list_shards(corpus, tmp_path)
    maker = DocumentMaker(source_of(corpus))
    made = [maker.make(shard.path, raw, 0) for raw in ShardReader(corpus, tmp_path).read(shard)]
    assert [shown(document) for document in made] == CASES[name].made


def shown(made: Document | BadRecord | Filtered) -> Made:
    if isinstance(made, BadRecord):
        return "bad"
    if isinstance(made, Filtered):
        assert made.reason.startswith("where"), made.reason
        return "filtered"
    return [(segment.text, segment.supervised) for segment in made.segments]
