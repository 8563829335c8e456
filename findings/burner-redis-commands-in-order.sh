#!/usr/bin/env bash
# burner-redis 0.1.7: two commands that are called one after the other and awaited later are not done in the order of their calls.
#
# `client.get(...)` is done when it is called, and `client.set(...)` when it is awaited.  So a GET that is called after
# a SET, before that is awaited, does not see its value; redis-py's clients do both when they are awaited, in order.
# Seen with burner-redis 0.1.7 on CPython 3.11 (what pydocket 0.27.0 serves memory:// with):
#
#   burner-redis 0.1.7: called SET, then GET; awaited SET, then GET: None
#   burner-redis 0.1.7: each awaited as it is called: b'value'
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet burner-redis==0.1.7
"$folder/venv/bin/python" - <<'PY' | tee "$folder/seen"
import asyncio
from importlib.metadata import version

from burner_redis import BurnerRedis


async def main() -> None:
    client = BurnerRedis()
    put, got = client.set("one", "value"), client.get("one")
    await put
    print(f"burner-redis {version('burner-redis')}: called SET, then GET; awaited SET, then GET: {await got!r}")
    await client.set("two", "value")
    print(f"burner-redis {version('burner-redis')}: each awaited as it is called: {await client.get('two')!r}")


asyncio.run(main())
PY
diff "$folder/seen" - <<'SEEN'
burner-redis 0.1.7: called SET, then GET; awaited SET, then GET: None
burner-redis 0.1.7: each awaited as it is called: b'value'
SEEN
echo "as it was seen"
