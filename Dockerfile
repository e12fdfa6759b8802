# syntax=docker/dockerfile:1
# The lab in a container: `docker build -t meshless .`, then `docker run --rm -p 3001:3001 meshless`.
#
# Two stages: the toolchain stays behind; what ships is one static binary on an empty base, run by nobody in particular.
# For several architectures at once: `docker buildx build --platform linux/amd64,linux/arm64 -t REGISTRY/meshless --push .`
ARG RUST_VERSION=1.95

# Compiles on the builder's own architecture for the target's: emulating a compiler takes an hour.
FROM --platform=$BUILDPLATFORM rust:${RUST_VERSION}-slim-bookworm AS build
# clang compiles the C in dependencies for any target; what is linked are Rust's own musl and linker.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends clang \
 && rm -rf /var/lib/apt/lists/*
ARG TARGETARCH
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,id=target-${TARGETARCH} \
    case "${TARGETARCH:-$(dpkg --print-architecture)}" in \
      amd64) arch=x86_64 ;; \
      arm64) arch=aarch64 ;; \
      *) echo "no image for ${TARGETARCH}: amd64 and arm64 are known" >&2; exit 1 ;; \
    esac \
 && target="${arch}-unknown-linux-musl" \
 && rustup target add "${target}" \
 && export CC="clang --target=${target}" AR=llvm-ar \
 && export CARGO_PROFILE_RELEASE_STRIP=true RUSTFLAGS="-C linker=rust-lld" \
 && cargo build --release --locked --package meshless-lab --all-features --target "${target}" \
 && cp "target/${target}/release/meshless" /meshless

FROM scratch
COPY --from=build /meshless /usr/local/bin/meshless
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
EXPOSE 3001
# SIGTERM, Docker's default, begins a graceful end, which takes 25 s at most: `docker stop --time 30`.
ENTRYPOINT ["/usr/local/bin/meshless"]
CMD ["serve"]
