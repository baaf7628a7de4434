FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY crates crates
COPY src src
COPY console console
RUN cargo build --release --locked

FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --home-dir /var/lib/updates-bridge --create-home bridge
COPY --from=build /src/target/release/updates-bridge /usr/local/bin/updates-bridge
COPY config /etc/updates-bridge
USER bridge
WORKDIR /var/lib/updates-bridge
ENV BRIDGE_STATE_DIR=/var/lib/updates-bridge/state
VOLUME /var/lib/updates-bridge
EXPOSE 3001 3002
HEALTHCHECK --interval=10s --timeout=3s CMD curl -fsS http://127.0.0.1:3001/healthz || exit 1
ENTRYPOINT ["updates-bridge"]
CMD ["serve", "--config-dir", "/etc/updates-bridge"]
