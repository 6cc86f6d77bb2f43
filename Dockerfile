# Weir alone; docker-compose.yml puts it in front of PostgreSQL's official images.
FROM rust:1-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends libclang-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /weir
COPY . .
RUN cargo build --locked --release

FROM debian:bookworm-slim
RUN useradd --system --create-home --home-dir /var/lib/weir weir
COPY --from=build /weir/target/release/weir /usr/local/bin/weir
COPY docker/weir.toml /etc/weir/weir.toml
COPY shardmaps/shop.toml /etc/weir/shardmaps/shop.toml
USER weir
EXPOSE 6432 6433
# SIGTERM (docker stop) lets open transactions end.
CMD ["weir", "serve", "--config", "/etc/weir/weir.toml"]
