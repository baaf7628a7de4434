# A release build on a base that has a C library and certificates, and nothing else: no shell, no package manager.
FROM rust:1.95-bookworm AS build
# What aws-lc is built with.
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake=3.25.* \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY crates crates
COPY src src
COPY console console
RUN cargo build --release --locked --bin updates-bridge \
    && strip target/release/updates-bridge \
    && mkdir -p /state

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/updates-bridge /usr/local/bin/updates-bridge
COPY config /etc/updates-bridge
# The image's user is 65532. A volume that is mounted here for the first time takes over who owns it.
COPY --from=build --chown=65532:65532 /state /var/lib/updates-bridge
USER 65532:65532
WORKDIR /var/lib/updates-bridge
# Not the container's own loopback, where nobody could ask the admin side: it needs BRIDGE_ADMIN__TOKEN.
ENV BRIDGE_STATE_DIR=/var/lib/updates-bridge/state \
    BRIDGE_ADMIN__LISTEN=0.0.0.0:3002
VOLUME /var/lib/updates-bridge
EXPOSE 3001 3002
# That the process lives. A balancer asks /readyz.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s CMD ["updates-bridge", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/updates-bridge"]
CMD ["serve", "--config-dir", "/etc/updates-bridge"]
