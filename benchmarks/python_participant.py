"""A participant for machines without nginx: answers every POST at once."""

import asyncio
import sys

from aiohttp import web


async def answer(request: web.Request) -> web.Response:
    """What nginx would say."""
    await request.read()
    return web.json_response({"receipt_no": "r-1", "accepted": True})


async def main() -> None:
    """Serve on a free loopback port, print the address, stay until SIGTERM."""
    app = web.Application()
    app.router.add_post("/{task}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    sys.stdout.write(f"http://{host}:{port}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
