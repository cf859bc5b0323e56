# linly for NVIDIA GPUs, with LoRA, the monitor and remote storage:
#   docker build -t linly .
# docs/launching.md shows how to run it.

# torch brings its own libraries of CUDA 13.0; the base names the drivers that fit them.
FROM nvidia/cuda:13.0.2-base-ubuntu24.04@sha256:2ab6381d970b211fb93853796dc6707eb8a72575a375c422b17cf4d8b2641701

# Kernels of triton are compiled when they first run: gcc and the headers of Python.
# The packages are those of the distribution at the day of the build, with its security updates.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o 1000 -g 1000 /workspace

RUN python3 -m venv /opt/linly
ENV PATH=/opt/linly/bin:$PATH
RUN --mount=type=bind,target=/source,rw \
    --mount=type=cache,target=/root/.cache/pip \
    pip install -c /source/constraints.txt '/source[gpu,lora,monitor,remote]'

# Any user may run it, also one without an account in the image (docker run --user).
ENV HOME=/tmp USER=linly
USER 1000:1000
WORKDIR /workspace
ENTRYPOINT ["linly"]
CMD ["--help"]
