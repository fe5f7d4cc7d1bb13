"""A carrier over HTTP: `POST /shipments {"order_id", "address"}` answers a tracking number.

python -m examples.shipping_service --books north.db --name north
"""

from aiohttp import web

from examples.participant import Books, JsonObject, Refused, Routes, key_of, options, run


class ShippingService:
    """Takes parcels."""

    def __init__(self, books: Books, name: str) -> None:
        self._books = books
        self._name = name

    def routes(self) -> Routes:
        """What it serves."""
        return [web.post("/shipments", self._ship)]

    async def _ship(self, request: web.Request) -> web.Response:
        key, parcel = key_of(request), await request.json()
        return web.json_response(self._books.once(key, lambda: self._take(parcel)))

    def _take(self, parcel: JsonObject) -> JsonObject:
        if not parcel.get("address"):
            raise Refused(422, "a parcel needs an address")
        return {"tracking_no": f"{self._name}-{self._books.next_number():04}"}


def main() -> None:
    """Serve until told to stop."""
    parser = options("A carrier.")
    parser.add_argument("--name", required=True, help="begins its tracking numbers")
    arguments = parser.parse_args()
    run(arguments, lambda books: ShippingService(books, arguments.name).routes())


if __name__ == "__main__":
    main()
