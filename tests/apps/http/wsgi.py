"""The same for gunicorn, as far as its workers can do it: one request a connection."""

LARGE = b"x" * 5_000_000


def app(environ, start_response):
    path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
    status = "200 OK"
    if path.startswith("/items/"):
        body = [b'{"item": %s}' % path[7:].encode()]
    elif path == "/large":
        body = [LARGE]
    elif path == "/stream":
        body = (b"part" * 2500 for _ in range(20))
    elif path == "/upload":
        received = 0
        while part := environ["wsgi.input"].read(65536):
            received += len(part)
        body = [b'{"bytes": %d}' % received]
    elif path == "/slow":
        body = [b"slow"]
    else:
        status, body = "404 Not Found", [b"no"]
    headers = [("Content-Type", "text/plain")]
    if isinstance(body, list):
        headers.append(("Content-Length", str(sum(map(len, body)))))
    start_response(status, headers)
    return [] if method == "HEAD" else body
