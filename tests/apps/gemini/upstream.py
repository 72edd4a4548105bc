"""A server that speaks the shapes of the Gemini API: generateContent, streamGenerateContent with and
without alt=sse, countTokens, batchEmbedContents, the Interactions API, and their errors. Over TLS when it is
given a certificate.

What it does is told by the prompt: a prompt that is a JSON object is taken for instructions, anything
else gets a short answer. Instructions, all optional:

  prompt, output, thoughts, cached   tokens to tell
  chunks       pieces of a streamed answer (3)
  pause_ms     pause before each piece, and before a whole answer (0)
  text         the answer's text
  large        bytes of an inline image in the answer (0)
  wait_for     a file: the last piece of a streamed answer does not come before it is there
  noise        bytes of random text in the answer, or in each piece of it, that hardly compress (0)
  coding       gzip, deflate, raw-deflate, br or identity; without it gzip where the client takes it
  error        status to answer with: 400, 403, 404, 429, 500, 503
  array        the error is wrapped in an array
  details      whether a 429 has details (true)
  break        truncate: the connection ends within the answer; error: an error in the midst of a
               stream; garbage: no JSON; hang: nothing more comes
  usage        null: no usage in the answer; each: in each piece of a stream (the default); last

Each call is told on standard output when it is over, as a line of JSON.
"""

import argparse
import base64
import http.server
import json
import os
import socket
import ssl
import sys
import threading
import time
import urllib.parse
import zlib

import brotli

STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
OUTPUT = threading.Lock()


class ClientGone(Exception):
    pass


class Coding:
    """A content coding whose output can be sent piece by piece."""

    def __init__(self, name):
        windows = {"gzip": 31, "deflate": 15, "raw-deflate": -15}
        self.name = name.removeprefix("raw-")
        if name in windows:
            self.compressor = zlib.compressobj(wbits=windows[name])
            self.add = self.compressor.compress
            self.flush = lambda: self.compressor.flush(zlib.Z_SYNC_FLUSH)
            self.end = self.compressor.flush
        elif name == "br":
            self.compressor = brotli.Compressor(quality=4)
            self.add = self.compressor.process
            self.flush = self.compressor.flush
            self.end = self.compressor.finish
        else:
            self.add = bytes
            self.flush = self.end = bytes


def instructions(body):
    """What the prompt tells to do, and the prompt."""
    prompt = body.get("input")
    if prompt is None:
        contents = body.get("contents") or body.get("content") or []
        contents = contents if isinstance(contents, list) else [contents]
        parts = [part for content in contents for part in content.get("parts", [])]
        prompt = "".join(part.get("text", "") for part in parts)
    if isinstance(prompt, list):
        prompt = "".join(part.get("text", "") for part in prompt)
    try:
        wanted = json.loads(prompt)
    except ValueError:
        wanted = {}
    return (wanted if isinstance(wanted, dict) else {}), prompt


def error_body(status, wanted):
    error = {"code": status, "message": f"the fake says {status}", "status": STATUS[status]}
    if status == 429 and wanted.get("details", True):
        violation = {
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
            "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
            "quotaDimensions": {"location": "global", "model": "gemini-2.5-flash"},
        }
        error["details"] = [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "47s"},
        ]
    body = {"error": error}
    return [body] if wanted.get("array") else body


class Tokens:
    def __init__(self, wanted):
        self.prompt = wanted.get("prompt", 8)
        self.output = wanted.get("output", 5)
        self.thoughts = wanted.get("thoughts", 0)
        self.cached = wanted.get("cached", 0)

    def metadata(self, output):
        counts = {
            "promptTokenCount": self.prompt,
            "candidatesTokenCount": output,
            "totalTokenCount": self.prompt + output + self.thoughts,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": self.prompt}],
        }
        if self.thoughts:
            counts["thoughtsTokenCount"] = self.thoughts
        if self.cached:
            counts["cachedContentTokenCount"] = self.cached
        return counts

    def interaction(self):
        return {
            "total_input_tokens": self.prompt,
            "total_cached_tokens": self.cached,
            "total_output_tokens": self.output,
            "total_thought_tokens": self.thoughts,
            "total_tokens": self.prompt + self.output + self.thoughts,
        }


class Body:
    """Writes an answer's body: chunked, compressed as it goes."""

    def __init__(self, handler, coding):
        self.handler = handler
        self.coding = coding

    def write(self, text):
        self.chunk(self.coding.add(text.encode()) + self.coding.flush())

    def end(self):
        self.chunk(self.coding.end())
        self.raw(b"0\r\n\r\n")

    def chunk(self, data):
        if data:
            self.raw(b"%x\r\n%s\r\n" % (len(data), data))

    def raw(self, data):
        try:
            self.handler.wfile.write(data)
            self.handler.wfile.flush()
        except OSError as gone:
            raise ClientGone from gone


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536

    def log_message(self, *_):
        pass

    def do_GET(self):
        if urllib.parse.urlsplit(self.path).path.endswith("/models"):
            model = {"name": "models/gemini-2.5-flash", "displayName": "Gemini 2.5 Flash"}
            self.answer(200, {"models": [model]}, {})
        else:
            self.answer(404, error_body(404, {}), {})
        self.tell(operation="get", status=200)

    def do_POST(self):
        text = self.request_body()
        try:
            body = json.loads(text)
        except ValueError:
            self.answer(400, error_body(400, {}), {})
            return self.tell(operation="unknown", status=400)
        wanted, prompt = instructions(body)
        parts = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(parts.query)
        name = parts.path.rsplit("/", 1)[-1]
        model, _, operation = name.partition(":")
        if parts.path.endswith("/interactions"):
            model, operation = body.get("model"), "interactions"
        told = {"operation": operation, "model": model, "bytes": len(text)}
        told["key"] = self.headers.get("x-goog-api-key") or query.get("key", [None])[0]
        told["headers"] = {name.lower(): value for name, value in self.headers.items()}
        told["prompt"] = prompt[:200]
        try:
            told.update(self.serve(operation, model, wanted, body, query))
        except ClientGone:
            told.update(status=200, end="client gone")
        self.tell(**told)

    def request_body(self):
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            data = b""
            while length := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(length)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def serve(self, operation, model, wanted, body, query):
        tokens = Tokens(wanted)
        pause = wanted.get("pause_ms", 0) / 1000
        if "error" in wanted:
            time.sleep(pause)
            status = wanted["error"]
            self.answer(status, error_body(status, wanted), wanted)
            return {"status": status, "end": "whole"}
        if operation == "countTokens":
            self.answer(200, {"totalTokens": tokens.prompt}, wanted)
            return {"status": 200, "end": "whole"}
        if operation == "batchEmbedContents":
            embeddings = [{"values": [0.5, 0.25]} for _ in body["requests"]]
            self.answer(200, {"embeddings": embeddings}, wanted)
            return {"status": 200, "end": "whole"}
        if operation == "interactions":
            return self.interaction(model, wanted, tokens, pause, bool(body.get("stream")))
        if operation == "streamGenerateContent":
            return self.stream(model, wanted, tokens, pause, query.get("alt") == ["sse"])
        if operation == "generateContent":
            time.sleep(pause)
            whole = self.piece(model, wanted, wanted.get("text", "Hello there."), tokens.output)
            return self.whole(whole, wanted, tokens)
        self.answer(404, error_body(404, wanted), wanted)
        return {"status": 404, "end": "whole"}

    def piece(self, model, wanted, text, output, last=True):
        text += base64.b64encode(os.urandom(wanted.get("noise", 0) * 3 // 4)).decode()
        parts = [{"text": text}]
        if last and wanted.get("large"):
            data = "QUJD" * (wanted["large"] // 4)
            parts.append({"inlineData": {"mimeType": "image/png", "data": data}})
        candidate = {"content": {"parts": parts, "role": "model"}, "index": 0}
        if last:
            candidate["finishReason"] = "STOP"
        piece = {"candidates": [candidate], "modelVersion": model, "responseId": self.response_id()}
        usage = wanted.get("usage", "each")
        if usage == "each" or (usage == "last" and last):
            piece["usageMetadata"] = Tokens(wanted).metadata(output)
        return piece

    def response_id(self):
        if not getattr(self, "current_id", None):
            self.server.answered += 1
            self.current_id = f"answer-{self.server.answered}-{id(self):x}"
        return self.current_id

    def whole(self, answer, wanted, tokens):
        counts = {"prompt_tokens": tokens.prompt, "output_tokens": tokens.output}
        counts["response_id"] = self.response_id()
        if wanted.get("break") == "truncate":
            text = json.dumps(answer, indent=2)
            body = self.head(200, wanted, "application/json; charset=UTF-8")
            body.write(text[: len(text) // 2])
            self.cut()
            return {"status": 200, "end": "cut"}
        if wanted.get("break") == "garbage":
            body = self.head(200, wanted, "application/json; charset=UTF-8")
            body.write("<html>not what you think</html>")
            body.end()
            return {"status": 200, "end": "garbage"}
        self.answer(200, answer, wanted)
        return {"status": 200, "end": "whole", **counts}

    def stream(self, model, wanted, tokens, pause, sse):
        kind = "text/event-stream" if sse else "application/json; charset=UTF-8"
        body = self.head(200, wanted, kind)
        chunks = wanted.get("chunks", 3)
        broken = wanted.get("break")
        if not sse:
            body.write("[")
        for index in range(chunks):
            time.sleep(pause)
            last = index == chunks - 1
            if last and "wait_for" in wanted:
                with OUTPUT:
                    print("answering", flush=True)
                while not os.path.exists(wanted["wait_for"]):
                    time.sleep(0.01)
            output = tokens.output * (index + 1) // chunks
            text = wanted.get("text", f"piece {index} ")
            piece = self.piece(model, wanted, text, output, last)
            if last and broken == "truncate":
                text = json.dumps(piece)
                body.write(("data: " if sse else ",") + text[: len(text) // 2])
                self.cut()
                return {"status": 200, "end": "cut"}
            if last and broken == "error":
                error = json.dumps(error_body(503, {}), indent=2)
                body.write(f"data: {json.dumps(error_body(503, {}))}\r\n\r\n" if sse else f",{error}]")
                body.end()
                return {"status": 200, "end": "error"}
            if last and broken == "hang":
                return self.hang()
            if sse:
                body.write(f"data: {json.dumps(piece)}\r\n\r\n")
            else:
                body.write(("" if index == 0 else ",\r\n") + json.dumps(piece, indent=2))
        if not sse:
            body.write("]")
        body.end()
        counts = {"prompt_tokens": tokens.prompt, "output_tokens": tokens.output}
        return {"status": 200, "end": "whole", "response_id": self.response_id(), **counts}

    def interaction(self, model, wanted, tokens, pause, stream):
        answer = {
            "id": self.response_id(),
            "model": model,
            "object": "interaction",
            "status": "completed",
            "created": "2026-11-24T00:00:00Z",
            "updated": "2026-11-24T00:00:00Z",
            "steps": [
                {"type": "model_output", "content": [{"type": "text", "text": "Hello there."}]}
            ],
            "usage": tokens.interaction(),
        }
        if not stream:
            time.sleep(pause)
            return self.whole(answer, wanted, tokens)
        begun = {"id": answer["id"], "model": model, "status": "in_progress"}
        events = [{"event_type": "interaction.created", "interaction": begun}]
        step = {"type": "model_output", "content": []}
        events.append({"event_type": "step.start", "index": 0, "step": step})
        for index in range(wanted.get("chunks", 3)):
            delta = {"type": "text", "text": f"piece {index} "}
            events.append({"event_type": "step.delta", "index": 0, "delta": delta})
        events.append({"event_type": "step.stop", "index": 0})
        events.append({"event_type": "interaction.completed", "interaction": answer})
        body = self.head(200, wanted, "text/event-stream")
        for event in events:
            time.sleep(pause)
            body.write(f"event: {event['event_type']}\ndata: {json.dumps(event)}\n\n")
        body.end()
        counts = {"prompt_tokens": tokens.prompt, "output_tokens": tokens.output}
        return {"status": 200, "end": "whole", "response_id": answer["id"], **counts}

    def coding(self, wanted):
        accepted = self.headers.get("accept-encoding", "")
        return Coding(wanted.get("coding") or ("gzip" if "gzip" in accepted else "identity"))

    def head(self, status, wanted, kind):
        coding = self.coding(wanted)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Server-Timing", "gfet4t7; dur=12")
        self.send_header("Transfer-Encoding", "chunked")
        if coding.name != "identity":
            self.send_header("Content-Encoding", coding.name)
        self.end_headers()
        return Body(self, coding)

    def answer(self, status, answer, wanted):
        """A whole answer, of known length."""
        data = json.dumps(answer, indent=2).encode()
        coding = self.coding(wanted)
        data = coding.add(data) + coding.end()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        if coding.name != "identity":
            self.send_header("Content-Encoding", coding.name)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        try:
            self.wfile.write(data)
            self.wfile.flush()
        except OSError as gone:
            raise ClientGone from gone

    def cut(self):
        self.wfile.flush()
        self.close_connection = True

    def hang(self):
        """Until the client is gone."""
        self.wfile.flush()
        self.connection.settimeout(60)
        try:
            gone = self.connection.recv(1) == b""
        except OSError as error:
            gone = not isinstance(error, TimeoutError)
        self.close_connection = True
        return {"status": 200, "end": "client gone" if gone else "nobody went"}

    def tell(self, **told):
        self.current_id = None
        told["method"] = self.command
        told["path"] = self.path
        with OUTPUT:
            print("call", json.dumps(told), flush=True)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    answered = 0
    context = None

    def finish_request(self, request, client_address):
        # In the connection's own thread, so that a slow handshake holds nobody up.
        if self.context:
            request.settimeout(60)
            try:
                request = self.context.wrap_socket(request, server_side=True)
            except OSError:
                return
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with request:
            super().finish_request(request, client_address)

    def handle_error(self, request, client_address):
        # Clients that go away are part of the tests.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    arguments = parser.parse_args()
    server = Server(("127.0.0.1", arguments.port), Handler)
    if arguments.certificate:
        server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.context.load_cert_chain(arguments.certificate, arguments.key)
    print("ready", flush=True)
    server.serve_forever()


main()
