"""The table of hardware in the READMEs, from the estimate of `linly check`.

`python -m docs.hooks.hardware` writes it between its marks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from linly.modeling.memory import training_memory
from linly.training.engine.optimizers import optimizer_kind

ROOT = Path(__file__).resolve().parents[2]
READMES = (ROOT / "README.md", ROOT / "README_zh.md")
BEGIN, END = "<!-- hardware: begin -->", "<!-- hardware: end -->"
GIB = 1 << 30
GPUS = (1, 2, 4, 8, 16, 64)


@dataclass(frozen=True, slots=True)
class LlamaShape:
    """Sizes of a Llama, as in its config.json.

    Attributes:
        kv_size: Width of keys and of values.
        is_tied: Whether the output layer is the embedding.
    """

    vocabulary: int
    hidden_size: int
    num_layers: int
    kv_size: int
    intermediate_size: int
    is_tied: bool = False

    @property
    def num_parameters(self) -> int:
        """All parameters."""
        attention = 2 * self.hidden_size * (self.hidden_size + self.kv_size)
        mlp = 3 * self.hidden_size * self.intermediate_size
        layer = attention + mlp + 2 * self.hidden_size
        embeddings = (1 if self.is_tied else 2) * self.vocabulary * self.hidden_size
        return self.num_layers * layer + embeddings + self.hidden_size


MODELS: Mapping[str, LlamaShape] = {
    "TinyLlama 1.1B": LlamaShape(32_000, 2048, 22, 256, 5632),
    "Llama 3.2 3B": LlamaShape(128_256, 3072, 28, 1024, 8192, is_tied=True),
    "Llama 2 7B with 8,076 characters": LlamaShape(40_076, 4096, 32, 4096, 11_008),
    "Llama 3.1 8B": LlamaShape(128_256, 4096, 32, 1024, 14_336),
    "Llama 2 13B with 8,076 characters": LlamaShape(40_076, 5120, 40, 5120, 13_824),
    "Llama 2 70B": LlamaShape(32_000, 8192, 80, 1024, 28_672),
}


def table() -> str:
    """Write the GiB per GPU of each model on each number of GPUs, as Markdown."""
    lines = [
        "| GiB per GPU | " + " | ".join(f"{n} GPU{'s' * (n > 1)}" for n in GPUS) + " |",
        "|---|" + "---:|" * len(GPUS),
    ]
    for name, shape in MODELS.items():
        cells = [f"{needed_gib(shape.num_parameters, world_size=n):,.0f}" for n in GPUS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def needed_gib(num_parameters: int, *, world_size: int) -> float:
    """Return the memory of a rank that trains all parameters, before activations."""
    needed = training_memory(
        num_parameters,
        num_trained=num_parameters,
        state_bytes=optimizer_kind("adamw").bytes_per_parameter,
        world_size=world_size,
    )
    return needed.total_bytes / GIB


def with_table(text: str) -> str:
    """Return a text with the current table between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    for path in READMES:
        path.write_text(with_table(path.read_text("utf-8")), "utf-8")
