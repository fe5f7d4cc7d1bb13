"""A fraud check over HTTP, `POST /checks`; each check it makes opens a case.

It opens the case at once, but looks into a new customer for some seconds before it answers: a
caller with less patience cannot know that its case is open.

    python -m examples.fraud_service --books fraud.db
"""

import asyncio

from aiohttp import web

from examples.participant import Books, JsonObject, Routes, key_of, options, run

THOROUGH = 4.0  # seconds that it looks into a new customer


class FraudService:
    """Opens cases."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def routes(self) -> Routes:
        """What it serves."""
        return [web.post("/checks", self._check)]

    async def _check(self, request: web.Request) -> web.Response:
        key, order = key_of(request), await request.json()
        is_first = self._books.reply(key) is None
        reply = self._books.once(key, self._open_case)
        if is_first and order.get("new_customer"):
            await asyncio.sleep(THOROUGH)
        return web.json_response(reply)

    def _open_case(self) -> JsonObject:
        return {"case": f"C-{self._books.next_number():04}", "verdict": "clear"}


def main() -> None:
    """Serve until told to stop."""
    run(options("A fraud check.").parse_args(), lambda books: FraudService(books).routes())


if __name__ == "__main__":
    main()
