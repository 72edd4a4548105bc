"""A web service that asks a model with the google-genai SDK, as any service would: nothing in here knows
that somebody watches. `app` is for uvicorn, `wsgi` for gunicorn.

Each page takes `prompt` (a text, or an object for the fake upstream) and `model`, and answers with the
number of the answer's output tokens, or the error's code.
"""

import asyncio
import urllib.parse

from fastapi import FastAPI, Response
from google import genai
from google.genai import errors

MODEL = "gemini-2.5-flash"
CLIENT = genai.Client(api_key="AIza-a-key-of-the-tests")
app = FastAPI()


def used(answer):
    metadata = answer.usage_metadata
    return str(metadata.candidates_token_count if metadata else 0)


def ask(prompt, model):
    try:
        return used(CLIENT.models.generate_content(model=model, contents=prompt))
    except errors.APIError as error:
        return f"error {error.code}"


async def ask_later(prompt, model):
    try:
        return used(await CLIENT.aio.models.generate_content(model=model, contents=prompt))
    except errors.APIError as error:
        return f"error {error.code}"


@app.get("/health")
async def health():
    return "ok"


@app.get("/summary")
async def summary(prompt: str, model: str = MODEL):
    return Response(await ask_later(prompt, model))


@app.get("/chat/{user}")
async def chat(user: int, prompt: str, model: str = MODEL):
    told = "0"
    try:
        pieces = await CLIENT.aio.models.generate_content_stream(model=model, contents=prompt)
        async for piece in pieces:
            told = used(piece)
    except Exception as error:
        told = f"error {type(error).__name__}"
    return Response(told)


@app.get("/both")
async def both(prompt: str, model: str = MODEL):
    """Two calls at once, for one request."""
    told = await asyncio.gather(ask_later(prompt, model), ask_later(prompt, model))
    return Response(" ".join(told))


@app.get("/pool")
def pool(prompt: str, model: str = MODEL):
    """In a thread of its own: which request it is for does not show from outside."""
    return Response(ask(prompt, model))


def wsgi(environ, start_response):
    query = urllib.parse.parse_qs(environ["QUERY_STRING"])
    told = "ok"
    if environ["PATH_INFO"] != "/health":
        told = ask(query["prompt"][0], query.get("model", [MODEL])[0])
    start_response("200 OK", [("Content-Length", str(len(told)))])
    return [told.encode()]
