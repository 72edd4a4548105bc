"""A WSGI app with slow pages: psycopg 3, one connection for each worker."""

import os

import psycopg

connection = psycopg.connect(
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


def nothing(_cursor):
    """Needs no database."""


PAGES = {"health": nothing, "slow": slow, "quick": quick, "late": late}


def app(environ, start_response):
    """Answers /slow/N, /quick/N, /late/N and /health."""
    page = PAGES.get(environ["PATH_INFO"].split("/")[1])
    if page is None:
        start_response("404 Not Found", [("Content-Length", "0")])
        return [b""]
    with connection.cursor() as cursor:
        page(cursor)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
