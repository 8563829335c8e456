# Jaeger where Tempo listens: spans on 4317, metrics on 3200.  It is asked on 16686.
FROM taskctx-stand-in:base
COPY jaeger /usr/local/bin/
COPY tempo-jaeger.yaml /etc/jaeger.yaml
COPY tempo-start.sh /usr/local/bin/start
RUN install --directory --owner 10001 --group 10001 /var/tempo
USER 10001
VOLUME /var/tempo
ENTRYPOINT ["sh", "/usr/local/bin/start"]
