"""The Modelfile from which Ollama creates a model of a GGUF file."""

from __future__ import annotations

import json

from linly.data.documents.templates import DELIMITERS
from linly.export.trained_template import OWN_TEMPLATE, joint
from linly.tokenization.tokenizer import Tokenizer

_TURNS = """\
{{- if .System }}{{ .System }}{{ else }}{{ %(preamble)s }}{{ end }}
{{- range .Messages }}
{{- if eq .Role "user" }}{{ %(before)s }}{{ .Content }}{{ %(after)s }}
{{- else if eq .Role "assistant" }}{{ %(join)s }}{{ .Content }}{{ %(join)s }}
{{- end }}
{{- end }}"""


MODELFILE = "Modelfile"


def modelfile(file: str, *, name: str, template: str | None, tokenizer: Tokenizer) -> str:
    """Content of a Modelfile.

    Args:
        file: Name of the GGUF file beside it.
        name: Name of the model, for the command in its first line.
        template: Template of the instructions that the model was trained on; None for none.
        tokenizer: Vocabulary of the model.
    """
    lines = [f"# ollama create {name.lower()} -f Modelfile", f"FROM ./{file}"]
    if template in DELIMITERS:
        delimiters = DELIMITERS[template]
        texts = {**delimiters._asdict(), "join": joint(tokenizer)}
        literals = {key: json.dumps(text, ensure_ascii=False) for key, text in texts.items()}
        lines += [
            f'TEMPLATE """{_TURNS % literals}"""',
            f"PARAMETER stop {json.dumps(delimiters.before.strip())}",
        ]
    elif template == OWN_TEMPLATE:
        lines.append("# TEMPLATE: Ollama takes it from the chat template in the GGUF file")
    else:
        lines.append('TEMPLATE """{{ .Prompt }}"""')
    return "\n".join([*lines, ""])
