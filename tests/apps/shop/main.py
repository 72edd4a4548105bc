"""A small web app that the end-to-end tests observe."""

from fastapi import FastAPI

app = FastAPI()


@app.get("/health")
async def health() -> dict[str, str]:
    """Answers when the app serves."""
    return {"status": "ok"}


@app.get("/items/{item}")
async def item(item: int) -> dict[str, object]:
    """Answers with a body whose length depends on the item."""
    return {"item": item, "text": "x" * (item % 1000)}
