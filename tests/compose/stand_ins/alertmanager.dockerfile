FROM taskctx-stand-in:base
COPY alertmanager /usr/local/bin/
RUN install --directory --owner 65534 --group 65534 /alertmanager
USER 65534
WORKDIR /alertmanager
VOLUME /alertmanager
ENTRYPOINT ["alertmanager"]
