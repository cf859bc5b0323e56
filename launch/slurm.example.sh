#!/usr/bin/env bash
# Trains launch/recipes/linly-llama2-7b.yaml on 8 nodes of 8 GPUs.
# Submit it by sbatch from the folder in which it was printed. That folder, the Python environment,
# the data and the run folder must be on a file system that all nodes share.
#SBATCH --job-name=linly-llama2-7b
#SBATCH --nodes=8
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

cd "${SLURM_SUBMIT_DIR}"
export PATH="${PWD}"/.venv/bin:"${PATH}"

code=0
srun --kill-on-bad-exit=1 linly train launch/recipes/linly-llama2-7b.yaml || code=$?

# 75: saved before the time limit. The same command resumes from the newest complete checkpoint.
if [[ ${code} -eq 75 ]]; then
  scontrol requeue "${SLURM_JOB_ID}"
fi
exit "${code}"
