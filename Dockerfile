# One static program in an empty image. Build for several platforms with
#   docker buildx build --platform linux/amd64,linux/arm64,linux/arm/v7 .
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS=linux
ARG TARGETARCH
ARG TARGETVARIANT
ARG VERSION=dev
ARG COMMIT=
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH GOARM=${TARGETVARIANT#v} \
    go build -buildvcs=false -trimpath -ldflags "-s -w -X github.com/crolang-p2p/crolang-aio/internal/version.version=$VERSION -X github.com/crolang-p2p/crolang-aio/internal/version.commit=$COMMIT" -o /out/crolang-aio . \
 && install -d -m 0700 /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/crolang-aio /usr/local/bin/
COPY LICENSE NOTICE /
# A new volume takes over the owner and the mode of this folder.
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
ENV PATH=/usr/local/bin CROLANG_AIO_DATA_DIR=/data
VOLUME /data
# STUN and TURN; TURN over TLS and DTLS; Broker; webhooks; admin. A CA asks at 443 and 80:
# docs/operations.md says what to publish for it. Relays have their own
# range: set CROLANG_AIO_TURN_RELAY_PORTS, and publish the same ports.
EXPOSE 3478/udp 3478/tcp 5349/udp 5349/tcp 8080/tcp 8083/tcp 8084/tcp
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s CMD ["crolang-aio", "health"]
ENTRYPOINT ["crolang-aio"]
CMD ["serve"]
