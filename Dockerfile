# `docker build --target serve .` answers visitors, `--target pipeline` makes what they are answered with; `nginx` stands
# before both, as compose.yaml says. Needs BuildKit. The secrets `pip_conf` and `ca` may be left out: they are for a network with an index or a
# certificate of its own, and no layer keeps them.
ARG BASE=debian:12-slim

# hadolint ignore=DL3006
FROM ${BASE} AS python
ENV PATH=/opt/greenr/bin:$PATH PYTHONDONTWRITEBYTECODE=1
# One number in both images, which share a volume; a folder made here gives a new volume its owner.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data greenr \
    && install -d -o greenr -g greenr /data /etc/nginx/greenr
# Without ca-certificates no picture would be fetched from an https address.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends python3 ca-certificates \
    && rm -rf /var/cache/apt /var/lib/apt/lists

FROM python AS building
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv && rm -rf /var/cache/apt /var/lib/apt/lists
RUN python3 -m venv /opt/greenr
WORKDIR /src
SHELL ["/bin/sh", "-euc"]

FROM building AS wheel
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca \
    pip wheel --no-deps --wheel-dir /wheel .

FROM building AS required
COPY requirements requirements
COPY constraints.txt .
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca \
    pip install -c constraints.txt -r requirements/serve.txt

FROM required AS built-serve
RUN --mount=from=wheel,source=/wheel,target=/wheel \
    pip install --no-cache-dir --no-deps /wheel/*.whl && pip uninstall --yes pip setuptools

FROM required AS built-pipeline
# apprise is for [notify]. Where torch without CUDA is to be had, some GB smaller: https://download.pytorch.org/whl/cpu
ARG PIP_EXTRA_INDEX_URL
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca \
    pip install -c constraints.txt -r requirements/serve.txt -r requirements/pipeline.txt apprise
RUN --mount=from=wheel,source=/wheel,target=/wheel pip install --no-cache-dir --no-deps /wheel/*.whl

FROM python AS pipeline
COPY --from=built-pipeline /opt/greenr /opt/greenr
USER 10001
WORKDIR /data
CMD ["greenr", "run"]

# hadolint ignore=DL3006
FROM ${BASE} AS nginx
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends nginx-light && rm -rf /var/cache/apt /var/lib/apt/lists
COPY deploy/compose/nginx.conf /etc/nginx/nginx.conf
USER 33
EXPOSE 8080
CMD ["nginx", "-e", "stderr", "-g", "daemon off;"]

FROM python AS serve
COPY --from=built-serve /opt/greenr /opt/greenr
ENV GREENR_STORE=/data/releases GREENR_RUN_DIR=/run/greenr
USER 10001
WORKDIR /
EXPOSE 8008
# That it answers; which release it serves, /readyz says. On SIGTERM it answers what it has, for 25 s at most.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8008/healthz', timeout=4)"]
CMD ["python3", "-m", "greenr_luigi.web", "--host=0.0.0.0", "--port=8008"]
