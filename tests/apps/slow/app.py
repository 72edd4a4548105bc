"""A WSGI app that is slow on demand, each time for another reason."""

import mmap
import os

import psycopg2

SIZE = 1 << 20
WRITES = 64
# Page-aligned, as O_DIRECT wants it.
block = mmap.mmap(-1, SIZE)
connection = None


def compute():
    """Some milliseconds of work on a CPU."""
    total = 0
    for number in range(200_000):
        total += number * number
    return total


def disk():
    """Writes past the page cache, and waits for each write."""
    path = os.path.join(os.environ["DISK_DIRECTORY"], f"written-by-{os.getpid()}")
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_DIRECT, 0o600)
    try:
        for _ in range(WRITES):
            os.write(file, block)
        os.fdatasync(file)
    finally:
        os.close(file)
        os.unlink(path)


def ask(statement):
    """Runs a statement on the worker's one connection."""
    global connection
    if connection is None:
        connection = psycopg2.connect(
            host=os.environ["DATABASE_HOST"],
            port=os.environ["DATABASE_PORT"],
            user="postgres",
            dbname="postgres",
            sslmode="disable",
        )
        connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement)


def database():
    """Waits for a statement that takes long without anybody computing."""
    ask("SELECT pg_sleep(0.4)")


def search():
    """Waits for a statement that has Postgres compute."""
    ask("SELECT count(*) FROM generate_series(1, 3000000) n WHERE n % 7 = 0")


def fails():
    """What a bug looks like."""
    raise RuntimeError("on demand")


def nothing():
    """Answers at once."""


ROUTES = {
    "/compute": compute,
    "/disk": disk,
    "/database": database,
    "/search": search,
    "/fails": fails,
    "/health": nothing,
}


def app(environ, start_response):
    """Answers each of the paths above."""
    handler = ROUTES.get(environ["PATH_INFO"])
    if handler is None:
        start_response("404 Not Found", [("Content-Length", "0")])
        return [b""]
    handler()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
