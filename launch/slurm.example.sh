#!/usr/bin/env bash
# Several nodes under Slurm: sbatch launch/slurm.example.sh launch/recipes/linly-llama2-7b.yaml
# Change what is marked; the checkout, the virtual environment and the run folder have to lie on a
# file system that all nodes share.
#SBATCH --job-name=linly
#SBATCH --nodes=8                 # change
#SBATCH --ntasks-per-node=8       # change: one process a GPU
#SBATCH --gpus-per-node=8         # change
#SBATCH --cpus-per-task=8         # change
#SBATCH --time=24:00:00           # change
#SBATCH --signal=TERM@120         # 120 s before the time limit: save, then leave with code 75
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

cd "${SLURM_SUBMIT_DIR}"
export PATH="${PWD}/.venv/bin:${PATH}"

code=0
srun python launch/train.py "$@" || code=$?

# The same command goes on from the newest whole checkpoint.
if [[ ${code} -eq 75 ]]; then
  scontrol requeue "${SLURM_JOB_ID}"
fi
exit "${code}"
