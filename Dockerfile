# The environment of requirements.lock. The project itself is mounted, not copied: docs/cluster.md.
FROM python:3.11-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make procps \
    && rm -rf /var/lib/apt/lists/*
COPY requirements.lock /tmp/requirements.lock
RUN pip install --no-cache-dir --requirement /tmp/requirements.lock
