# One image for the edge, the console, the worker and `yout`: docs/deploy-docker.md.
# Any base that has python3 (3.11 or newer) with venv, and CA certificates.
ARG BASE=docker.io/library/python:3.12-slim-bookworm

FROM ${BASE} AS build
# `--build-arg EXTRA=otel` adds requirements/otel.txt, for traces.
ARG EXTRA=
WORKDIR /srv/yout
COPY requirements/*.txt requirements/
# Only wheels: otherwise a package that needs a compiler would go unnoticed until a platform lacks its wheel.
RUN python3 -m venv /srv/venv \
    && /srv/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: \
       -r requirements/runtime.txt ${EXTRA:+-r requirements/$EXTRA.txt}
COPY . .
RUN /srv/venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation -e . \
    && /srv/venv/bin/python -m compileall -q . \
    && /srv/venv/bin/pip uninstall -q -y setuptools pip

FROM ${BASE}
RUN useradd --system --uid 10001 --home-dir /var/lib/yout --shell /usr/sbin/nologin yout \
    && install -d -o yout -g yout -m 0700 /var/lib/yout
COPY --from=build /srv /srv
ENV PATH=/srv/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    YOUT_ENV=production \
    YOUT_DATA_DIR=/var/lib/yout \
    PORT=8000 \
    YOUT_METRICS_PORT=8000
WORKDIR /srv/yout
USER 10001
VOLUME /var/lib/yout
EXPOSE 8000
# The worker listens on YOUT_METRICS_PORT: change both ports together, or start it with --no-healthcheck.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", "import http.client, os; \
connection = http.client.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=4); \
connection.request('GET', '/healthz'); \
raise SystemExit(connection.getresponse().status != 200)"]
CMD ["python", "-m", "edge"]
