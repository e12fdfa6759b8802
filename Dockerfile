# syntax=docker/dockerfile:1
# The lab in a container: `docker build -t meshless .`, then `docker run --rm -p 3001:3001 meshless`.
#
# It needs BuildKit, for its caches and for $BUILDPLATFORM: Docker's own builder from 23.0 on, `docker buildx` or `buildctl`.
#
# Two stages: the toolchain stays behind; what ships is one binary of 24 MB on a base of as much again, without shell or package
# manager. A static binary with musl is of the same size and needs no base, but its allocator costs a sixth more processor time per
# call, and the lab is there to measure that. It runs as nobody in particular, and writes nothing: the root can be read-only.
# For several architectures at once: `docker buildx build --platform linux/amd64,linux/arm64 -t REGISTRY/meshless --push .`
# `--build-arg COMMIT=$(git rev-parse HEAD)` puts the commit into `meshless --version`.
ARG RUST_VERSION=1.95

# Runs on the builder's own architecture and compiles for the target's: to emulate a compiler takes an hour.
FROM --platform=$BUILDPLATFORM rust:${RUST_VERSION}-slim-bookworm AS build
ARG TARGETARCH
WORKDIR /src
# A compiler and linker of C for the target, unless it is the builder's own.
RUN set -eu; \
    case "${TARGETARCH:=$(dpkg --print-architecture)}" in \
      amd64) rust=x86_64-unknown-linux-gnu gnu=x86_64-linux-gnu package=gcc-x86-64-linux-gnu ;; \
      arm64) rust=aarch64-unknown-linux-gnu gnu=aarch64-linux-gnu package=gcc-aarch64-linux-gnu ;; \
      *) echo "there is no image for ${TARGETARCH}, only for amd64 and arm64" >&2; exit 1 ;; \
    esac; \
    if [ "${TARGETARCH}" != "$(dpkg --print-architecture)" ]; then \
      apt-get update; \
      apt-get install --yes --no-install-recommends "${package}" "libc6-dev-${TARGETARCH}-cross"; \
      rm -rf /var/lib/apt/lists/*; \
      rustup target add "${rust}"; \
    fi; \
    printf '[build]\ntarget = "%s"\n[target.%s]\nlinker = "%s-gcc"\n' "${rust}" "${rust}" "${gnu}" \
      > "${CARGO_HOME:-/usr/local/cargo}/config.toml"; \
    echo "${rust}" > /target
COPY . .
ARG COMMIT=
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,id=meshless-target-${TARGETARCH} \
    MESHLESS_COMMIT=${COMMIT} CARGO_PROFILE_RELEASE_STRIP=true cargo build --release --locked --package meshless-cli --all-features \
 && cp "target/$(cat /target)/release/meshless" /meshless

# glibc and libgcc of the same Debian as the build.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /meshless /usr/local/bin/meshless
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
EXPOSE 3001
# No HEALTHCHECK: it would need a program of its own in the image. Kubernetes asks the server itself (`grpc: {port: 3001}`).
# SIGTERM, which Docker sends, begins a graceful end of 25 s at most: `docker stop --time 30`.
ENTRYPOINT ["/usr/local/bin/meshless"]
CMD ["serve"]
