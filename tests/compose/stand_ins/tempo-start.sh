# Tempo's options are not Jaeger's; but what Tempo reads must be there for its user.
set -eu
cat /etc/tempo.yaml > /dev/null
exec jaeger --config /etc/jaeger.yaml
