#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Test a checkpoint with several processes: one for each GPU, or gloo processes on a machine without GPUs.
#
# Usage: tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
# On several machines, start it on each with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [options of tools/test.py]" >&2
    exit 2
fi
config=$1 checkpoint=$2 gpus=$3
shift 3
root=$(cd "$(dirname "$0")/.." && pwd)

if [ -z "${PORT:-}" ] && [ "${NNODES:-1}" = 1 ]; then
    meeting=(--standalone)  # any free port: two runs on one machine do not meet
else
    meeting=(--nnodes "${NNODES:-1}" --node_rank "${NODE_RANK:-0}"
             --master_addr "${MASTER_ADDR:-127.0.0.1}" --master_port "${PORT:-29500}")
fi

export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive} OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export MKL_NUM_THREADS=${MKL_NUM_THREADS:-$OMP_NUM_THREADS}
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
exec "${PYTHON:-python}" -m torch.distributed.run "${meeting[@]}" --nproc_per_node "$gpus" \
    "$root/tools/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
