"""A WSGI app for a server with threads, which share two connections, and which knows how long it
waited for one.
"""

import json
import os
import time

import psycopg2
from sqlalchemy import create_engine, text

POOL = 2

ADDRESS = {"host": os.environ["DATABASE_HOST"], "port": os.environ["DATABASE_PORT"], "sslmode": "disable"}
engine = create_engine(
    "postgresql+psycopg2://postgres@/postgres", connect_args=ADDRESS, pool_size=POOL, max_overflow=0
)

more = []


def fill():
    """Opens all connections of the pool."""
    for connection in [engine.connect() for _ in range(POOL)]:
        connection.close()
    return {}


def slow():
    """Half a second of a connection's time."""
    began = time.monotonic()
    with engine.connect() as connection:
        waited = time.monotonic() - began
        connection.execute(text("SELECT pg_sleep(0.5)"))
    return {"waited": waited}


def open_more():
    """Opens connections of its own until the server refuses two."""
    opened = refused = 0
    while refused < 2:
        try:
            more.append(psycopg2.connect(user="postgres", dbname="postgres", **ADDRESS))
            opened += 1
        except psycopg2.OperationalError as error:
            assert "too many clients" in str(error), error
            refused += 1
    return {"opened": opened, "refused": refused}


def close_more():
    """Closes them."""
    while more:
        more.pop().close()
    return {}


ROUTES = {"/health": dict, "/fill": fill, "/slow": slow, "/more": open_more, "/fewer": close_more}


def app(environ, start_response):
    """Answers with what a route returns."""
    body = json.dumps(ROUTES[environ["PATH_INFO"]]()).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
