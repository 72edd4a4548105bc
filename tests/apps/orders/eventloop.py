"""A FastAPI app that works for many requests on one thread, and counts its statements."""

import asyncio
import os
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI, Header

CONNECTIONS = 6

executed = 0
connections: asyncio.Queue = asyncio.Queue()


@asynccontextmanager
async def lifespan(_app: FastAPI):
    """Opens the connections. A queue and no pool: a pool sends statements of its own."""
    for _ in range(CONNECTIONS):
        connection = await asyncpg.connect(
            host=os.environ["DATABASE_HOST"],
            port=int(os.environ["DATABASE_PORT"]),
            user="postgres",
            database="postgres",
            ssl=False,
        )
        connections.put_nowait(connection)
    yield
    while not connections.empty():
        connections.get_nowait().terminate()


app = FastAPI(lifespan=lifespan)


async def ask(statements: list[str]) -> None:
    """Runs statements one after the other on one connection."""
    global executed
    connection = await connections.get()
    try:
        for statement in statements:
            await connection.fetch(statement, 1)
            executed += 1
    finally:
        connections.put_nowait(connection)


@app.get("/health")
async def health() -> dict[str, str]:
    """Answers when the app serves."""
    return {"status": "ok"}


@app.get("/executed")
async def count() -> int:
    """Statements so far."""
    return executed


@app.get("/plain/{item}")
async def plain(item: int) -> dict[str, int]:
    """Three statements that say nothing about their request."""
    await ask(["SELECT name, pg_sleep(0.02) FROM items WHERE id = $1"] * 3)
    return {"item": item}


@app.get("/traced/{item}")
async def traced(item: int, traceparent: str = Header()) -> dict[str, int]:
    """Two statements that name their trace, as sqlcommenter has them."""
    trace = traceparent.split("-")[1]
    comment = f"/*traceparent='00-{trace}-00f067aa0ba902b7-01'*/"
    await ask([f"SELECT name, pg_sleep(0.02) FROM items WHERE id = $1 {comment}"] * 2)
    return {"item": item}
