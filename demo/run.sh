#!/usr/bin/env bash
# The main job on a small synthetic world, on two processes: `make demo`, then `make demo-chinese-only`.
# Everything is written below demo/output/; a second start resumes where the first stopped.
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
  step "$1" linly launch "$2" --nproc 2
}

corpora=(--corpora corpora/demo --data-root demo/output/data)

prepare() {
  mkdir -p demo/output/models
  step "A small synthetic world in English and Chinese, in the forms of the real corpora" \
    python -m demo.write --output demo/output/data --seed 2023 --size small
  step "An English vocabulary: sentencepiece BPE with byte fallback" \
    linly vocab train --corpus slimpajama --corpus refinedweb --size 2000 --coverage 1 \
    --output demo/output/english.model "${corpora[@]}"
  [[ -d demo/output/models/new ]] || step "A new Llama with random weights" \
    linly model init --config nano --tokenizer demo/output/english.model \
    --output demo/output/models/new
  train "The English base" launch/recipes/demo-base.yaml
  [[ -d demo/output/models/base ]] || step "The base as plain safetensors" \
    linly export demo/output/runs/base --output demo/output/models/base
  step "The characters of the Chinese corpora that the vocabulary lacks" \
    linly vocab characters --base demo/output/english.model --from-corpus wiki2019zh \
    --from-corpus baike2018qa --from-corpus translation2019zh --from-corpus alpaca_zh \
    --output demo/output/characters.txt "${corpora[@]}"
  step "The vocabulary with these characters" \
    linly vocab extend --base demo/output/english.model --characters demo/output/characters.txt \
    --output demo/output/extended.model
  [[ -d demo/output/models/extended ]] || \
    step "The base with rows for them: means of their sub-tokens" \
    linly model extend --model demo/output/models/base --tokenizer demo/output/extended.model \
    --output demo/output/models/extended
}

case "${1:-}" in
  mixture)
    prepare
    step "What the curriculum plans" linly plan launch/recipes/demo.yaml
    train "The curriculum: from mostly English to mostly Chinese" launch/recipes/demo.yaml
    step "The report, and the mixture as a picture" \
      linly report demo/output/runs/mixture --png demo/output/mixture.png
    step "What was to be shown" python -m demo.check mixture
    ;;
  chinese-only)
    [[ -d demo/output/models/extended ]] || { echo "run 'make demo' first" >&2; exit 1; }
    train "Chinese alone, for as many steps" launch/recipes/demo-chinese-only.yaml
    step "What was to be shown" python -m demo.check chinese-only
    ;;
  *)
    echo "usage: demo/run.sh mixture|chinese-only" >&2
    exit 2
    ;;
esac
