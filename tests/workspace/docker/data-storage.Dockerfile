ARG GO_IMAGE=docker.io/library/golang:1.25-trixie
ARG BASE_IMAGE=docker.io/library/debian:trixie-slim

FROM ${GO_IMAGE} AS build
ARG GOPROXY
ARG GOSUMDB
ARG GOFLAGS
ENV CGO_ENABLED=0 GOTOOLCHAIN=local
WORKDIR /src
COPY go.mod go.sum ./
# The libraries of cmd/datastorage alone, compiled, as a layer that changes of
# the sources do not touch. `go mod download` would bring ginkgo and gomega too.
RUN go build -trimpath \
    github.com/google/uuid \
    github.com/jackc/pgx/v5/pgxpool \
    github.com/redis/go-redis/v9 \
    go.yaml.in/yaml/v3
COPY cmd/ cmd/
COPY internal/ internal/
COPY pkg/ pkg/
# The folder is there for files that are copied into a container before it starts.
RUN go build -trimpath -o /out/usr/local/bin/ ./cmd/datastorage && mkdir -p /out/etc/datastorage

FROM ${BASE_IMAGE}
COPY --from=build /out/ /
ENV CONFIG_PATH=/etc/datastorage/config.yaml
EXPOSE 8080 9090
USER 1001
ENTRYPOINT ["/usr/local/bin/datastorage"]
