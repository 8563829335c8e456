FROM taskctx-stand-in:base
COPY prometheus promtool /usr/local/bin/
RUN install --directory --owner 65534 --group 65534 /prometheus
USER 65534
WORKDIR /prometheus
VOLUME /prometheus
ENTRYPOINT ["prometheus"]
