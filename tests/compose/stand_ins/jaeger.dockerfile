FROM taskctx-stand-in:base
COPY jaeger /cmd/jaeger/jaeger-linux
ENV JAEGER_LISTEN_HOST=0.0.0.0
VOLUME /tmp
ENTRYPOINT ["/cmd/jaeger/jaeger-linux"]
USER 10001
