"""A WSGI app that asks Postgres one thing at a time, as most do.

Each worker has one connection, opened when it starts, so that every statement is a request's.
"""

import os

import psycopg2

ITEMS = 30

connection = psycopg2.connect(
    host=os.environ["DATABASE_HOST"],
    port=os.environ["DATABASE_PORT"],
    user="postgres",
    dbname="postgres",
    sslmode="disable",
)
connection.autocommit = True


def loop(cursor):
    """One query for the order's items, and one for each of them: an N+1."""
    cursor.execute("SELECT id FROM items ORDER BY id LIMIT %s", (ITEMS,))
    for (item,) in cursor.fetchall():
        # As slow as a query on a table that is not all in memory.
        cursor.execute("SELECT name, pg_sleep(0.002) FROM items WHERE id = %s", (item,))


def join(cursor):
    """The same with one query."""
    cursor.execute("SELECT id, name FROM items WHERE id <= %s", (ITEMS,))


def nothing(_cursor):
    """Needs no database."""


ROUTES = {"orders": loop, "joined": join, "health": nothing}


def app(environ, start_response):
    """Answers /orders/N, /joined/N and /health."""
    handler = ROUTES.get(environ["PATH_INFO"].split("/")[1])
    if handler is None:
        start_response("404 Not Found", [("Content-Length", "0")])
        return [b""]
    with connection.cursor() as cursor:
        handler(cursor)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
