#!/usr/bin/env bash
# The main job on the embedded sample, on two processes: `make demo`, then `make demo-chinese-only`.
# Everything is written below demo/; a second start goes on where the first stopped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export PATH="${PWD}/.venv/bin:${PATH}"
# One thread a process: two cores, and sums in the same order each time.
export OMP_NUM_THREADS=1
# Bars and warnings of the libraries would hide what the steps print.
export HF_HUB_DISABLE_PROGRESS_BARS=1 PYTHONWARNINGS="ignore::FutureWarning"

step() {  # step TITLE COMMAND... : say what is done, show the command, run it
  printf '\n=== %s\n' "$1"
  shift
  printf '$ %s\n' "$*"
  "$@"
}

train() {  # train TITLE RECIPE
  step "$1" deepspeed --num_gpus 2 launch/train.py "$2"
}

corpora=(--corpora corpora/demo --data-root demo/data)

prepare() {
  mkdir -p demo/models
  step "A small synthetic world in English and Chinese, in the forms of the real corpora" \
    linly sample --output demo/data --seed 2023 --size small
  step "An English vocabulary: sentencepiece BPE with byte fallback" \
    linly vocab train --corpus slimpajama --corpus refinedweb --size 2000 --coverage 1 \
    --output demo/english.model "${corpora[@]}"
  [[ -d demo/models/new ]] || step "A new Llama with random weights" \
    linly model init --config nano --tokenizer demo/english.model --output demo/models/new
  train "The English base" launch/recipes/demo-base.yaml
  [[ -d demo/models/base ]] || step "The base as plain safetensors" \
    linly export demo/runs/base --output demo/models/base
  step "The characters of the Chinese corpora that the vocabulary lacks" \
    linly vocab characters --base demo/english.model --from-corpus wiki2019zh \
    --from-corpus baike2018qa --from-corpus translation2019zh --from-corpus alpaca_zh \
    --output demo/characters.txt "${corpora[@]}"
  step "The vocabulary with these characters" \
    linly vocab extend --base demo/english.model --characters demo/characters.txt \
    --output demo/extended.model
  [[ -d demo/models/extended ]] || step "The base with rows for them: means of their sub-tokens" \
    linly model extend --model demo/models/base --tokenizer demo/extended.model \
    --output demo/models/extended
}

case "${1:-}" in
  mixture)
    prepare
    step "What the curriculum plans" linly plan launch/recipes/demo.yaml
    train "The curriculum: from mostly English to mostly Chinese" launch/recipes/demo.yaml
    step "The report, and the mixture as a picture" \
      linly report demo/runs/mixture --png demo/mixture.png
    step "What was to be shown" python launch/demo_check.py mixture
    ;;
  chinese-only)
    [[ -d demo/models/extended ]] || { echo "run 'make demo' first" >&2; exit 1; }
    train "Chinese alone, for as many steps" launch/recipes/demo-chinese-only.yaml
    step "What was to be shown" python launch/demo_check.py chinese-only
    ;;
  *)
    echo "usage: launch/demo.sh mixture|chinese-only" >&2
    exit 2
    ;;
esac
