# As in the image, the data belong to the server's user, whom Debian's valkey-tools have made.
FROM taskctx-stand-in:base
RUN install --directory --owner valkey --group valkey /data
COPY valkey-server /usr/local/bin/
WORKDIR /data
VOLUME /data
CMD ["valkey-server"]
