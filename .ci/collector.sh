#!/bin/sh
# Build the OpenTelemetry Collector that tests and benchmarks run against, unless it is there,
# and print its path; with --where, print the path only. Version and sources are those of
# .ci/collector (go.sum has their sums). A first build takes some minutes, 1 GB of module cache
# and Go 1.21 or later, which fetches the Go that the sources ask for.
set -eu
cd "$(dirname "$0")/collector"

version=$(sed -n 's|.*collector/otelcol v||p' go.mod)
sources=$(cat go.mod go.sum main.go | sha256sum | cut -c1-8)
binary=${XDG_CACHE_HOME:-$HOME/.cache}/tapio/collector-$version-$sources/otelcol

if ! [ -x "$binary" ] && [ "${1:-}" != --where ]; then
    command -v go >/dev/null || ../packages golang-go
    case $(go env GOVERSION) in go1.?|go1.?.*|go1.1?*|go1.20*)
        echo "collector: $(go env GOVERSION) is too old; install Go 1.21 or later" >&2
        exit 1 ;;
    esac
    echo "collector: building $binary" >&2
    mkdir -p "$(dirname "$binary")"
    CGO_ENABLED=0 nice go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$binary.part" .
    mv "$binary.part" "$binary"
fi
echo "$binary"
