"""Makes calls with the google-genai SDK as any program would; where they go is told by the SDK's own
GOOGLE_GEMINI_BASE_URL.

Each line of standard input is a JSON object: how ("plain", "stream", "async", "async_stream", "count",
"embed", "interaction", "interaction_stream", "models"), prompt (a text, or an object for the fake
upstream), and optionally model, headers, max (output tokens), stop_after (pieces of a stream, after which
the client goes away), parallel (threads that do the same), times (by each). For each one, one line of JSON
per call is written: text and tokens, or the error as the SDK shows it to the program.
"""

import asyncio
import json
import sys
import threading

from google import genai
from google.genai import errors, types

CLIENT = genai.Client(api_key="AIza-a-key-of-the-tests")
OUTPUT = threading.Lock()


def tell(**told):
    with OUTPUT:
        print(json.dumps(told), flush=True)


def prompt(line):
    text = line.get("prompt", "Say hello.")
    return text if isinstance(text, str) else json.dumps(text)


def config(line):
    options = {}
    if "headers" in line:
        options["http_options"] = types.HttpOptions(headers=line["headers"])
    if "max" in line:
        options["max_output_tokens"] = line["max"]
    return types.GenerateContentConfig(**options)


def usage(answer):
    metadata = answer.usage_metadata
    if metadata is None:
        return {}
    return {"prompt": metadata.prompt_token_count, "output": metadata.candidates_token_count}


def plain(line, model):
    answer = CLIENT.models.generate_content(model=model, contents=prompt(line), config=config(line))
    tell(text=answer.text, **usage(answer))


def stream(line, model):
    text, told = "", {}
    pieces = CLIENT.models.generate_content_stream(
        model=model, contents=prompt(line), config=config(line)
    )
    for index, piece in enumerate(pieces, 1):
        text += piece.text or ""
        told = usage(piece) or told
        if index == line.get("stop_after"):
            pieces.close()
            break
    tell(text=text, **told)


async def in_the_background(line, model):
    answer = await CLIENT.aio.models.generate_content(
        model=model, contents=prompt(line), config=config(line)
    )
    tell(text=answer.text, **usage(answer))


async def stream_in_the_background(line, model):
    text, told = "", {}
    pieces = await CLIENT.aio.models.generate_content_stream(
        model=model, contents=prompt(line), config=config(line)
    )
    async for piece in pieces:
        text += piece.text or ""
        told = usage(piece) or told
    tell(text=text, **told)


def count(line, model):
    tell(total=CLIENT.models.count_tokens(model=model, contents=prompt(line)).total_tokens)


def embed(line, model):
    answer = CLIENT.models.embed_content(model=model, contents=prompt(line))
    tell(values=answer.embeddings[0].values)


def interaction(line, model):
    answer = CLIENT.interactions.create(model=model, input=prompt(line))
    tell(id=answer.id, output=answer.usage.total_output_tokens)


def interaction_stream(line, model):
    kinds = [
        event.event_type
        for event in CLIENT.interactions.create(model=model, input=prompt(line), stream=True)
    ]
    tell(last=kinds[-1], events=len(kinds))


def models(_line, _model):
    tell(models=[model.name for model in CLIENT.models.list()])


def call(line):
    how = line.get("how", "plain")
    model = line.get("model", "gemini-2.5-flash")
    try:
        match how:
            case "async":
                LOOP.run(in_the_background(line, model))
            case "async_stream":
                LOOP.run(stream_in_the_background(line, model))
            case _:
                globals()[how](line, model)
    except errors.APIError as error:
        tell(
            error=type(error).__name__,
            code=error.code,
            status=error.status,
            message=error.message,
            details=error.details,
        )
    except Exception as error:
        tell(error=type(error).__name__, message=str(error))


def repeat(line):
    for _ in range(line.get("times", 1)):
        call(line)


# The SDK's client keeps its connections, which belong to one loop.
LOOP = asyncio.Runner()
for text in sys.stdin:
    wanted = json.loads(text)
    threads = [
        threading.Thread(target=repeat, args=[wanted]) for _ in range(wanted.get("parallel", 0))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not threads:
        repeat(wanted)
