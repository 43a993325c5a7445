# syntax=docker/dockerfile:1
# SPDX-License-Identifier: Apache-2.0
# CrossEarth in a container, without root rights inside. BuildKit is needed for the cache mounts.
#
#   docker build --target cpu  -t crossearth:cpu .
#   docker build --target cuda -t crossearth:cuda .
#   docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" crossearth:cpu predict scene.tif -m MODEL -o map.tif
#   docker run --rm --gpus all --shm-size 8g -v "$PWD:/work" --entrypoint python crossearth:cuda \
#       /opt/crossearth/tools/train.py CONFIG --data-root /work/data
#
# PyTorch's packages on PyPI bring the CUDA libraries themselves: the host needs NVIDIA's driver and its container
# toolkit, and the image none of CUDA.

FROM python:3.12-slim-bookworm AS base
# what opencv-python links to
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
ENV PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=passive HOME=/tmp XDG_CACHE_HOME=/weights CROSSEARTH_WEIGHTS=/weights
RUN useradd --create-home --uid 1000 crossearth \
    && install --directory --owner crossearth --mode 1777 /work /weights
WORKDIR /opt/crossearth

# PyTorch first, in a layer of its own: it is by far the largest part and changes least.
FROM base AS torch-cpu
RUN --mount=type=cache,target=/root/.cache/pip XDG_CACHE_HOME=/root/.cache \
    python -m pip install --index-url https://download.pytorch.org/whl/cpu 'torch>=2.4'

FROM base AS torch-cuda
RUN --mount=type=cache,target=/root/.cache/pip XDG_CACHE_HOME=/root/.cache \
    python -m pip install 'torch>=2.4'

FROM torch-cpu AS cpu
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip XDG_CACHE_HOME=/root/.cache \
    python -m pip install --editable '.[geo,export]'
USER crossearth
WORKDIR /work
VOLUME ["/weights"]
ENTRYPOINT ["crossearth"]
CMD ["--help"]

FROM torch-cuda AS cuda
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip XDG_CACHE_HOME=/root/.cache \
    python -m pip install --editable '.[geo,backbones,track]'
USER crossearth
WORKDIR /work
VOLUME ["/weights"]
ENTRYPOINT ["crossearth"]
CMD ["--help"]
