# The image of the API that starts and stops workers: one program and nothing else. From the top of mirai's sources:
#
#   docker build -f inst/containers/api.Dockerfile -t mirai-containers .
ARG BASE=debian:bookworm-slim

FROM $BASE AS build
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      gcc libc6-dev ca-certificates rustc-web cargo-web
COPY Cargo.toml Cargo.lock /mirai/
COPY benches /mirai/benches
COPY rust /mirai/rust
# With the C library within, as there is none in the image. What runs while it is built is built for this machine as it is, which takes
# a target that is named.
RUN cd /mirai && host=$(rustc -vV | sed -n 's/^host: //p') && \
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --target "$host" -p mirai-containers && \
    cp "target/$host/release/mirai-containers" /mirai-containers

FROM scratch
COPY --from=build /mirai-containers /mirai-containers
ENTRYPOINT ["/mirai-containers"]
