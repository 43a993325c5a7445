#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measure every table of speed and memory on this machine: benchmarks/results/*.json, one after the other.
#
# Usage: scripts/reproduce_speed.sh [BENCHMARK...]     (default: all; about an hour on 2 cores)
# Leave the machine idle. A command before each one, such as `flock FILE`, can be given as $BEFORE.
set -euo pipefail
cd "$(dirname "$0")/.."

export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc)} OMP_WAIT_POLICY=passive
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
python=${PYTHON:-python} before=${BEFORE:-}

measure() {
    echo "== $*"
    # shellcheck disable=SC2086  # a command and its arguments
    $before "$python" "benchmarks/$1.py" "${@:2}"
}

for benchmark in "${@:-all}"; do
    case $benchmark in
        inference | all) measure inference --slide 6000 ;;&
        train_step | all)
            measure train_step --flow segmentation
            measure train_step ;;&
        modules | all) measure modules ;;&
        memory | all)
            measure memory
            measure memory --size 1024 --variants checkpointing ;;&
        scaling | all) measure scaling --repeats 2 --sizes 256 512 1024 --batches 2 --models s b g ;;&
        data_loading | all)
            measure data_loading
            measure data_loading --uncompressed ;;&
        dist | all) measure dist --model s --size 256 ;;&
        inference | train_step | modules | memory | scaling | data_loading | dist | all) ;;
        *) echo "error: '$benchmark' is no benchmark. Choose from those of benchmarks/README.md." >&2; exit 2 ;;
    esac
done
