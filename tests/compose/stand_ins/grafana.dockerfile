FROM taskctx-stand-in:base
COPY grafana-placeholder.py /placeholder.py
RUN install --directory --owner 472 --group 0 /var/lib/grafana
USER 472
VOLUME /var/lib/grafana
CMD ["python3", "/placeholder.py"]
