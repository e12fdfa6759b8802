#!/usr/bin/env bash
# Makes pb/ from the lab's .proto files anew; run it when they change. grpcio-tools bundles protoc, so run.sh goes first.
set -euo pipefail
cd "$(dirname "$0")"
tools=$(mktemp -d)
trap 'rm -r "$tools"' EXIT
GOBIN=$tools go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
GOBIN=$tools go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
packages=Mhello.proto=meshless/peers/go/pb/hellopb,Mstreams.proto=meshless/peers/go/pb/streamspb
"${CARGO_TARGET_DIR:-../../target}/peers/python/venv/bin/python" -m grpc_tools.protoc -I ../../crates/meshless-lab/proto \
  --plugin="$tools/protoc-gen-go" --go_out=. --go_opt="module=meshless/peers/go,$packages" \
  --plugin="$tools/protoc-gen-go-grpc" --go-grpc_out=. --go-grpc_opt="module=meshless/peers/go,$packages" \
  hello.proto streams.proto
