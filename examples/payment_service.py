"""A payment service: JSON over HTTP, `POST /rpc {"method": ..., "params": {...}}`.

`deduct` charges an account up to a limit; `unfreeze` frees an account that was frozen.

    python -m examples.payment_service --books payment.db --frozen user-49
"""

from aiohttp import web

from examples.participant import Books, JsonObject, Refused, Routes, key_of, options, run

LIMIT = 1000.0  # the most that one payment may take


class PaymentService:
    """Charges accounts."""

    def __init__(self, books: Books, frozen: list[str]) -> None:
        self._books = books
        self._frozen = set(frozen)

    def routes(self) -> Routes:
        """What it serves."""
        return [web.post("/rpc", self._rpc)]

    async def _rpc(self, request: web.Request) -> web.Response:
        match await request.json():
            case {"method": "deduct", "params": dict(params)}:
                reply = self._books.once(key_of(request), lambda: self._deduct(params))
            case {"method": "unfreeze", "params": {"user_id": str(user)}}:
                self._frozen.discard(user)
                reply = {"user_id": user}
            case _:
                raise Refused(404, "there are the methods deduct and unfreeze(user_id)")
        return web.json_response(reply)

    def _deduct(self, params: JsonObject) -> JsonObject:
        if params["user_id"] in self._frozen:
            raise Refused(403, f"the account of {params['user_id']} is frozen")
        if params["amount"] > LIMIT:
            raise Refused(402, f"declined: {params['amount']:g} is above the limit of {LIMIT:g}")
        receipt = f"R-{self._books.next_number():04}"
        return {
            "receipt_no": receipt,
            "order_id": params["order_id"],
            "charged": params["amount"],
        }


def main() -> None:
    """Serve until told to stop."""
    parser = options("A payment service.")
    parser.add_argument("--frozen", action="append", default=[], metavar="USER")
    arguments = parser.parse_args()
    run(arguments, lambda books: PaymentService(books, arguments.frozen).routes())


if __name__ == "__main__":
    main()
