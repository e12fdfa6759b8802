# The lab in a container: `docker build -t meshless .`, then `docker run --rm -p 3001:3001 meshless serve`.
# Two stages: the toolchain stays behind; what ships is one binary on a base without shell or package manager.
ARG RUST_VERSION=1.95

FROM rust:${RUST_VERSION}-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin meshless --features kubernetes \
 && cp target/release/meshless /meshless

# glibc and libgcc of the same Debian as the build, nothing else; runs as uid 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /meshless /usr/local/bin/meshless
EXPOSE 3001
ENTRYPOINT ["/usr/local/bin/meshless"]
CMD ["serve"]
