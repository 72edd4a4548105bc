"""A WSGI app with a slow page, and nothing that says why.

Each worker has one connection, opened when it starts.
"""

import os

import psycopg2

connection = psycopg2.connect(
    host=os.environ["DATABASE_HOST"],
    port=os.environ["DATABASE_PORT"],
    user="postgres",
    dbname="shop",
    sslmode="disable",
)
connection.autocommit = True

# What a customer sees first. Nothing finds a customer's orders but reading all of them.
LATEST = """
    SELECT id, placed_at, total FROM orders
    WHERE customer_id = %s ORDER BY placed_at DESC LIMIT 20
"""


def app(environ, start_response):
    """Answers /customers/N/orders, /customers/N and /health."""
    parts = environ["PATH_INFO"].strip("/").split("/")
    with connection.cursor() as cursor:
        if parts[0] == "customers" and parts[2:] == ["orders"]:
            cursor.execute(LATEST, (parts[1],))
        elif parts[0] == "customers":
            cursor.execute("SELECT name FROM customers WHERE id = %s", (parts[1],))
        rows = cursor.fetchall() if cursor.description else []
    body = str(len(rows)).encode()
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]
