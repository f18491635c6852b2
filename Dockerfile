# SPDX-License-Identifier: AGPL-3.0-or-later
# Harp's proxy in the place of the reference's container: the same ports, variables and /certs.
ARG BASE=python:3.13-slim-bookworm
FROM ${BASE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends haproxy ca-certificates \
 && rm -rf /var/lib/apt/lists/*
# Numbers that do not change: files on the host belong to them.
RUN groupadd --system --gid 8780 harp \
 && useradd --system --uid 8780 --gid harp --create-home --home-dir /var/lib/harp harp \
 && install -d -o harp -g harp /certs
COPY pyproject.toml README.md LICENSE /src/
COPY src /src/src
RUN pip install --no-cache-dir /src && rm -rf /src
ENV HARP_HOME=/var/lib/harp
USER harp
VOLUME ["/certs", "/var/lib/harp"]
EXPOSE 8780 8781 8782
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8784/readyz', timeout=4)"]
ENTRYPOINT ["harp", "proxy"]
