#!/bin/sh
# Secrets are files.  Programs that want them in the environment get them here, so that `docker inspect` shows none.
# Which ones it were is noted down for deploy/tools/healthy.py, which sees when others are in force.
set -eu
noted=${TMPDIR:-/tmp}/secrets.sha256
: > "$noted"
for name in DOCKET_URL REPORTS_SIGNING_KEY; do
  eval "file=\${${name}_FILE:-}"
  if [ -n "$file" ]; then
    value=$(cat "$file")
    export "$name=$value"
    sha256sum "$file" >> "$noted"
  fi
done
exec "$@"
