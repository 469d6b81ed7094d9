# syntax=docker/dockerfile:1
# The command pathling-import. Nobody here has built this file: `make check` looks at its form alone (tools/containers.py).
#
#     docker build -t pathling-import .
#     docker run --rm --env-file pathling-import.env pathling-import

FROM rust:1.95-slim-trixie AS build
WORKDIR /src
COPY . .
# The same line as `make build` has. Crates and what was compiled stay in caches, so only what changed is built again.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release --package pathling-import-cli && \
    cp target/release/pathling-import /pathling-import

# Distroless rather than scratch, so glibc rather than musl: the tests run with glibc, and musl's allocator is slow where
# several threads fill buffers at once. cc, for the program needs libgcc and libm beside libc. The image has no shell and no
# package manager; it has the system's root certificates at /etc/ssl/certs/ca-certificates.crt, which is where SSL_CERT_FILE
# points in it. For a private authority, mount a PEM file and have SSL_CERT_FILE name that.
FROM gcr.io/distroless/cc-debian13:nonroot
COPY --from=build /pathling-import /usr/local/bin/pathling-import
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/pathling-import"]
