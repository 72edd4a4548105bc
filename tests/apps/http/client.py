"""A client that asks a server for everything that HTTP/1 has, and counts what it got.

Reads one command a line, `run`; then tells each request as a line of JSON: method, path and status,
which is 0 where it did not wait for one.
"""

import argparse
import http.client
import json
import socket
import ssl
import sys
import time

import requests

PARSER = argparse.ArgumentParser()
PARSER.add_argument("--port", required=True, type=int)
PARSER.add_argument("--authority", help="a certificate; TLS is used when it is given")
PARSER.add_argument("--prefix", default="", help="what comes before every path")
PARSER.add_argument("scenarios", nargs="+")
WHERE = PARSER.parse_args()
TLS = ssl.create_default_context(cafile=WHERE.authority) if WHERE.authority else None
HOST = f"127.0.0.1:{WHERE.port}"
LARGE = 5_000_000


def tell(method, path, status, sent=0, certain=True):
    line = {"method": method, "path": WHERE.prefix + path, "status": status, "sent": sent, "certain": certain}
    print(json.dumps(line))


def connection():
    if TLS:
        return http.client.HTTPSConnection("127.0.0.1", WHERE.port, timeout=30, context=TLS)
    return http.client.HTTPConnection("127.0.0.1", WHERE.port, timeout=30)


def ask(link, method, path, body=(), headers={}):
    """A body in parts is sent in chunks."""
    parts = [body] if isinstance(body, bytes) else list(body)
    in_chunks = len(parts) > 1
    link.request(method, WHERE.prefix + path, iter(parts) if in_chunks else b"".join(parts) or None, headers)
    answer = link.getresponse()
    content = answer.read()
    # The size of a chunk is said in front of it, which may be in the middle of a call that has many: then
    # nobody who looks at both ends of the call alone can know how long the content was.
    tell(method, path, answer.status, sum(map(len, parts)), not in_chunks or sum(map(len, parts)) < 4000)
    return content


def raw():
    link = socket.create_connection(("127.0.0.1", WHERE.port), timeout=30)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return TLS.wrap_socket(link, server_hostname="127.0.0.1") if TLS else link


def head(method, path, *headers):
    lines = [f"{method} {WHERE.prefix}{path} HTTP/1.1", f"Host: {HOST}", *headers]
    return "".join(line + "\r\n" for line in [*lines, ""]).encode()


def receive(link, until):
    """Up to these bytes; they must come."""
    got = b""
    while until not in got:
        part = link.recv(65536)
        assert part, f"the connection ended: {got!r}"
        got += part
    return got


def keep_alive():
    link = connection()
    for number in range(20):
        ask(link, "GET", f"/items/{number * 50}?color=blue")
    for _ in range(3):
        ask(link, "GET", "/nothing/here")
    link.close()


def session():
    with requests.Session() as asker:
        # Nothing from the environment: no proxy, no other authorities.
        asker.trust_env = False
        asker.verify = WHERE.authority or True
        base = f"{'https' if TLS else 'http'}://{HOST}{WHERE.prefix}"
        for number in range(5):
            answer = asker.get(f"{base}/items/{number}")
            tell("GET", f"/items/{number}", answer.status_code)


def close():
    for number in range(3):
        link = connection()
        ask(link, "GET", f"/items/{number}", headers={"Connection": "close"})


def old():
    """HTTP/1.0: the end of the connection is the end of the content; uvicorn sends it in chunks all the same."""
    link = raw()
    link.sendall(head("GET", "/stream").replace(b"HTTP/1.1", b"HTTP/1.0"))
    got = b""
    while part := link.recv(65536):
        got += part
    link.close()
    assert got.count(b"part") > 49_000, got[:100]
    tell("GET", "/stream", 200)


def heads():
    link = connection()
    for _ in range(2):
        # Its Content-Length is that of a body which does not come.
        ask(link, "HEAD", "/large")
    ask(link, "GET", "/items/1")
    link.close()


def pipelined():
    link = raw()
    link.sendall(head("GET", "/items/1") * 3 + head("GET", "/items/1", "Connection: close"))
    got = b""
    while part := link.recv(65536):
        got += part
    assert got.count(b"HTTP/1.1 200") == 4, got
    for _ in range(4):
        tell("GET", "/items/1", 200)


def chunked():
    link = connection()
    for _ in range(2):
        assert len(ask(link, "GET", "/stream")) == 200_000
    for chunk in (100, 10_000):
        answer = ask(link, "POST", "/upload", [b"y" * chunk] * 30)
        assert json.loads(answer)["bytes"] == 30 * chunk
    link.close()


def large():
    link = connection()
    for _ in range(2):
        assert len(ask(link, "GET", "/large")) == LARGE
        assert json.loads(ask(link, "POST", "/upload", b"z" * LARGE))["bytes"] == LARGE
    link.close()


def expect():
    for size in (10, 100_000):
        link = raw()
        link.sendall(head("POST", "/upload", "Expect: 100-continue", f"Content-Length: {size}"))
        assert receive(link, b"\r\n\r\n").startswith(b"HTTP/1.1 100"), "no 100"
        link.sendall(b"w" * size)
        assert receive(link, b"}").startswith(b"HTTP/1.1 200"), "no 200"
        tell("POST", "/upload", 200, size)
        link.close()


def websocket():
    link = raw()
    link.sendall(
        head("GET", "/ws", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
             "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==")
    )
    receive(link, b"\r\n\r\n")
    tell("GET", "/ws", 101)
    link.sendall(bytes([0x81, 0x82, 0, 0, 0, 0]) + b"hi")
    receive(link, b"hi")
    # The answer to the good-bye.
    link.sendall(bytes([0x88, 0x80, 0, 0, 0, 0]))
    link.close()


def files():
    """What a server of files has: parts of them, and what was not changed."""
    link = connection()
    for _ in range(3):
        assert len(ask(link, "GET", "/large")) == LARGE
    ask(link, "GET", "/large", headers={"Range": "bytes=100-199"})
    ask(link, "GET", "/large", headers={"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"})
    link.close()


def leaves():
    """Goes before the answer."""
    link = connection()
    ask(link, "GET", "/slow?wait=0")
    link.close()
    for _ in range(2):
        link = raw()
        link.sendall(head("GET", "/slow?wait=2"))
        # Long enough to be read, not long enough to be answered.
        time.sleep(0.1)
        link.close()
        tell("GET", "/slow", 0)


def breaks():
    """Goes in the middle of the answer."""
    for _ in range(2):
        link = raw()
        link.sendall(head("GET", "/large"))
        receive(link, b"\r\n\r\n")
        link.close()
        tell("GET", "/large", 200)


if __name__ == "__main__":
    print(json.dumps({"event": "started"}), flush=True)
    assert sys.stdin.readline() == "run\n"
    for scenario in WHERE.scenarios:
        globals()[scenario]()
