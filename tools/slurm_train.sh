#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Train under Slurm, one process for each GPU.
#
# Usage: [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=8] [SRUN_ARGS=...] \
#            tools/slurm_train.sh PARTITION JOB_NAME CONFIG [options of tools/train.py]
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG [options of tools/train.py]" >&2
    exit 2
fi
partition=$1 job=$2 config=$3
shift 3
root=$(cd "$(dirname "$0")/.." && pwd)
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}

export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
# shellcheck disable=SC2086  # SRUN_ARGS holds several words
exec srun --partition="$partition" --job-name="$job" --gres="gpu:$per_node" --ntasks="$gpus" \
    --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-8}" --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} "${PYTHON:-python}" -u "$root/tools/train.py" "$config" --launcher slurm "$@"
