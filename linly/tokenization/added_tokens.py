"""Added tokens of a sentencepiece model folder: tokens that its tokenizer.model does not hold.

Chat models built on a sentencepiece base (Phi-3, many with ChatML) keep tokens like `<|im_start|>`
outside the model file, with ids after its pieces. They become pieces of the model: control pieces,
which text never produces, or user-defined ones if they are not special.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from linly.config.chat_format import read_added_tokens, read_named_tokens, read_num_rows
from linly.errors import ConfigError
from linly.tokenization.model_file import CONTROL, USER_DEFINED, parse_model


def with_added_tokens(model_bytes: bytes, folder: Path) -> bytes:
    """The sentencepiece model of a folder with its added tokens, and its BOS and EOS.

    If the folder's files add nothing to the model, its own bytes are returned.

    Raises:
        ConfigError: If the id of an added token belongs to another piece.
    """
    model = parse_model(model_bytes, origin=str(folder))
    num_pieces = len(model.pieces)
    num_rows = read_num_rows(folder)
    for token in read_added_tokens(folder):
        if num_rows is None or token["id"] < num_rows:  # else the embedding has no row for it
            _add(model, token, folder)
    names = read_named_tokens(folder)
    ids = {piece.piece: token for token, piece in enumerate(model.pieces)}
    named = [_name(model, key, names.get(f"{key}_token"), ids) for key in ("bos", "eos")]
    if len(model.pieces) == num_pieces and not any(named):
        return model_bytes
    model.trainer_spec.vocab_size = len(model.pieces)
    return bytes(model.SerializeToString())


def _add(model: Any, token: dict[str, Any], folder: Path) -> None:
    token_id, name = token["id"], token["content"]
    if token_id < len(model.pieces):
        piece = model.pieces[token_id].piece
        if piece != name:
            raise ConfigError(
                f"tokenizer {folder}: added token {name!r} has id {token_id}, which is {piece!r} "
                f"in tokenizer.model: the files do not belong to the same model"
            )
        return
    while len(model.pieces) < token_id:  # an id that no file names
        model.pieces.add(piece=f"<no token {len(model.pieces)}>", score=0.0, type=CONTROL)
    kind = CONTROL if token.get("special") else USER_DEFINED
    model.pieces.add(piece=name, score=0.0, type=kind)


def _name(model: Any, key: str, name: str | None, ids: dict[str, int]) -> bool:
    """Set a piece as BOS or EOS; return False if it is already set, or if none is named."""
    spec = model.trainer_spec
    if name is None or name not in ids or getattr(spec, f"{key}_piece") == name:
        return False
    setattr(spec, f"{key}_id", ids[name])
    setattr(spec, f"{key}_piece", name)
    return True
