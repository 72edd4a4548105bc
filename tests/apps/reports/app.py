"""A WSGI app with slow pages: psycopg 3, one connection for each worker."""

import functools
import os

import psycopg

@functools.cache
def connection():
    """Opened by the first page that needs it, so that a probe that came before sees who connects."""
    return psycopg.connect(
        host=os.environ["DATABASE_HOST"],
        port=os.environ["DATABASE_PORT"],
        user="postgres",
        dbname="postgres",
        sslmode="disable",
        application_name="reports",
        autocommit=True,
    )


def slow(cursor):
    """A value in the text and one beside it."""
    cursor.execute("SELECT pg_sleep(0.15), 'secret-in-text' AS a, %s AS b", ("secret-beside",))


def quick(cursor):
    """Under every threshold."""
    cursor.execute("SELECT 'secret-in-text'")


def late(cursor):
    """Ended by the server's statement_timeout."""
    cursor.execute("SET statement_timeout = 150")
    try:
        cursor.execute("SELECT pg_sleep(60), 'secret-in-text'")
    except psycopg.errors.QueryCanceled:
        pass
    cursor.execute("RESET statement_timeout")


PAGES = {"slow": slow, "quick": quick, "late": late}


def app(environ, start_response):
    """Answers /slow/N, /quick/N, /late/N and /health."""
    name = environ["PATH_INFO"].split("/")[1]
    if name in PAGES:
        with connection().cursor() as cursor:
            PAGES[name](cursor)
    elif name != "health":
        start_response("404 Not Found", [("Content-Length", "0")])
        return [b""]
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
