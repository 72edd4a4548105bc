"""The web app whose speed `cargo xtask bench overhead` measures: one row from Postgres per request.

`BENCH_DATABASE` says where Postgres is. With `BENCH_METRICS=prometheus` the app measures itself:
prometheus-fastapi-instrumentator for requests, and asyncpg's query logger for statements.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI, HTTPException

DATABASE = os.environ["BENCH_DATABASE"]
SELF_MEASURED = os.environ.get("BENCH_METRICS") == "prometheus"

if SELF_MEASURED:
    from prometheus_client import Histogram

    STATEMENTS = Histogram(
        "app_statement_seconds",
        "Seconds that statements took.",
        ["operation"],
        buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 1.0),
    )


def observe_statement(statement: asyncpg.connection.LoggedQuery) -> None:
    """Takes the time of one statement."""
    operation = statement.query.split(maxsplit=1)[0].upper()
    STATEMENTS.labels(operation).observe(statement.elapsed)


async def measure(connection: asyncpg.Connection) -> None:
    """Has the statements of a new connection timed."""
    connection.add_query_logger(observe_statement)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Holds the pool open while the app serves."""
    init = measure if SELF_MEASURED else None
    async with asyncpg.create_pool(DATABASE, min_size=4, max_size=4, init=init) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)

if SELF_MEASURED:
    from prometheus_fastapi_instrumentator import Instrumentator

    Instrumentator().instrument(app).expose(app)


@app.get("/health")
async def health() -> dict[str, str]:
    """Answers when the app serves."""
    return {"status": "ok"}


@app.get("/accounts/{account}")
async def read_account(account: int) -> dict[str, int]:
    """One account of pgbench's tables."""
    row = await app.state.pool.fetchrow(
        "SELECT aid, bid, abalance FROM pgbench_accounts WHERE aid = $1", account
    )
    if row is None:
        raise HTTPException(status_code=404)
    return dict(row)
