# docker build -t stt-bench . && docker run --rm -v "$PWD:/work" stt-bench run omniglot_mini_retrieval
# With a GPU: --build-arg EXTRA=gpu, and `docker run --gpus all`.
FROM python:3.11-slim
ARG EXTRA=cpu
WORKDIR /opt/stt-bench
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY stt_bench stt_bench
RUN python -m pip install --no-cache-dir --constraint constraints.txt ".[$EXTRA]" \
    && rm -rf /opt/stt-bench
# Data and weights are looked for below /data; runs and results go to the folder that is mounted.
ENV STT_BENCH_DATA=/data PYTHONUNBUFFERED=1
WORKDIR /work
ENTRYPOINT ["stt-bench"]
CMD ["--help"]
