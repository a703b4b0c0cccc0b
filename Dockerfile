# One image for every process of Weir: what differs is the command (`serve worker`, `migrate`, ...). See
# docs/how-to/containers.md. No server is in it: Postgres and Valkey run elsewhere, for instance in docker-compose.yml.

FROM python:3.11-slim-bookworm AS build

WORKDIR /build
RUN python -m venv /opt/weir

# Every file that may be installed, each with a hash that requirements.lock knows; tools of development among them, which
# stay behind in this stage.
COPY requirements.lock ./
RUN /opt/weir/bin/pip download --no-cache-dir --disable-pip-version-check --only-binary=:all: \
    --require-hashes --requirement requirements.lock --dest wheels

# Weir and what it needs to run, from those files and nowhere else; the back end that builds it is one of them. pip
# compiles all of it to bytecode, and is not needed afterwards.
COPY pyproject.toml README.md LICENSE ./
COPY telemetry telemetry
COPY dsl dsl
COPY workers workers
COPY api api
COPY migrations migrations
RUN /opt/weir/bin/pip install --no-cache-dir --disable-pip-version-check --no-index --find-links wheels --compile . \
    && /opt/weir/bin/pip uninstall --yes --disable-pip-version-check setuptools pip


FROM python:3.11-slim-bookworm

# A user of its own, the same in every version, so that volumes stay readable.
RUN groupadd --gid 10001 weir \
    && useradd --uid 10001 --gid weir --no-create-home --home-dir /var/lib/weir --shell /usr/sbin/nologin weir \
    && install --directory --owner weir --group weir --mode 0700 /var/lib/weir /run/weir \
    && install --directory --owner weir --group weir --mode 0755 /srv/weir /srv/weir/commands

COPY --from=build /opt/weir /opt/weir

# Weir is started in /srv/weir: that is where it looks for `weir.toml` and for your own `commands`.
ENV PATH=/opt/weir/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    WEIR_HOME=/var/lib/weir \
    WEIR_HEALTH_DIR=/run/weir
WORKDIR /srv/weir
USER 10001:10001
VOLUME ["/var/lib/weir", "/srv/weir/commands"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["weir"]
CMD ["--help"]
