#!/bin/sh
# Secrets are files.  Programs that want them in the environment get them here, so that `docker inspect` shows none.
set -eu
for name in DOCKET_URL REPORTS_SIGNING_KEY; do
  eval "file=\${${name}_FILE:-}"
  if [ -n "$file" ]; then
    value=$(cat "$file")
    export "$name=$value"
  fi
done
exec "$@"
