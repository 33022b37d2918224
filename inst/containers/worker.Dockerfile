# The image of a worker: R, mirai and worker.R. From the top of mirai's sources:
#
#   docker build -f inst/containers/worker.Dockerfile -t mirai-worker .
#
# Packages that tasks need go into an image on top of it: FROM mirai-worker, then USER root, RUN ..., USER mirai.
ARG BASE=debian:bookworm-slim

FROM $BASE AS build
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      r-base-dev cmake xz-utils rustc-web cargo-web
COPY DESCRIPTION NAMESPACE LICENSE configure cleanup Cargo.toml Cargo.lock /mirai/
COPY R /mirai/R
COPY benches /mirai/benches
COPY inst /mirai/inst
COPY man /mirai/man
COPY rust /mirai/rust
COPY src /mirai/src
COPY tools /mirai/tools
RUN mkdir /library && R CMD INSTALL --library=/library /mirai

FROM $BASE
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends r-base-core && \
    rm -rf /var/lib/apt/lists/* && useradd --create-home mirai
COPY --from=build /library /usr/local/lib/R/site-library
USER mirai
WORKDIR /home/mirai
ENV LANG=C.UTF-8
ENV MIRAI_PORT=5555
ENTRYPOINT ["Rscript", "/usr/local/lib/R/site-library/mirai/containers/worker.R"]
