"""What the service is compared with: a Litestar application that only gives bodies back.

The first bytes of a request's body are its answer, as many as the service's answers have. It reads no
JSON, decides nothing and keeps nothing: what is left is the price of HTTP, uvicorn and Litestar.
"""

import argparse
import json
import socket


def main() -> None:
    """Serve on a free port of this machine, which the first line of the output tells."""
    import uvicorn
    from litestar import Litestar, Response, post
    from litestar.params import RawBody

    options = argparse.ArgumentParser()
    options.add_argument("--decision-bytes", type=int, required=True)
    options.add_argument("--receipt-bytes", type=int, required=True)
    sizes = options.parse_args()

    async def decide(body: RawBody) -> Response[bytes]:
        return Response(body[: sizes.decision_bytes], media_type="application/json", status_code=200)

    async def record(body: RawBody) -> Response[bytes]:
        return Response(body[: sizes.receipt_bytes], media_type="application/json", status_code=202)

    handlers = [post("/v1/decisions", status_code=200)(decide), post("/v1/feedback", status_code=202)(record)]
    listening = socket.create_server(("127.0.0.1", 0))
    print(json.dumps({"port": listening.getsockname()[1]}), flush=True)
    app = Litestar(route_handlers=handlers, logging_config=None)
    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, lifespan="on")
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
