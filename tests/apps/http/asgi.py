"""What every server here answers, for uvicorn."""

import asyncio

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import Response, StreamingResponse

app = FastAPI()
LARGE = b"x" * 5_000_000


@app.get("/items/{item}")
async def item(item: int):
    return {"item": item}


@app.api_route("/large", methods=["GET", "HEAD"])
async def large():
    return Response(LARGE)


@app.get("/stream")
async def stream():
    async def parts():
        for _ in range(20):
            yield b"part" * 2500
            await asyncio.sleep(0)

    return StreamingResponse(parts())


@app.post("/upload")
async def upload(request: Request):
    return {"bytes": len(await request.body())}


@app.get("/slow")
async def slow(wait: float = 0):
    await asyncio.sleep(wait)
    return "slow"


@app.websocket("/ws")
async def ws(socket: WebSocket):
    await socket.accept()
    await socket.send_text(await socket.receive_text())
    await socket.close()
