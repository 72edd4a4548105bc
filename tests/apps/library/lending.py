"""A WSGI app that loads authors and their books with SQLAlchemy: lazily, and as it should be.

One connection, one thing at a time, so that every statement is a request's.
"""

import os

from sqlalchemy import ForeignKey, create_engine, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload

AUTHORS = 30
SHELVES = 7


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    books: Mapped[list["Book"]] = relationship(order_by="Book.id")


class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))
    title: Mapped[str]


engine = create_engine(
    "postgresql+psycopg2://postgres@/postgres",
    connect_args={"host": os.environ["DATABASE_HOST"], "port": os.environ["DATABASE_PORT"], "sslmode": "disable"},
    pool_size=1,
    max_overflow=0,
)


def titles(session, query):
    """What a template does: it does not know that each author's books may be a query."""
    authors = session.scalars(query.order_by(Author.id).limit(AUTHORS))
    return sum(len(author.books) for author in authors)


def lazy(session, _number):
    """The books of each author when they are asked for: an N+1."""
    return titles(session, select(Author))


def eager(session, _number):
    """The same page with two queries."""
    return titles(session, select(Author).options(selectinload(Author.books)))


def settings(session, _number):
    """The same question again and again: its answer could be remembered."""
    query = text("SELECT count(*) AS shelves FROM author WHERE id <= :limit")
    return sum(session.execute(query, {"limit": 5}).scalar_one() for _ in range(SHELVES))


def unindexed(session, number):
    """Few rows out of many, without an index."""
    query = text("SELECT id, note FROM loan WHERE reader = :reader")
    return len(session.execute(query, {"reader": number}).all())


def indexed(session, number):
    """One row by its key."""
    query = text("SELECT reader, note FROM loan WHERE id = :id")
    return len(session.execute(query, {"id": number}).all())


def health(session, _number):
    """Opens the connection before anything is measured."""
    session.execute(text("SELECT 1"))
    return 0


ROUTES = {
    "lazy": lazy,
    "eager": eager,
    "settings": settings,
    "unindexed": unindexed,
    "indexed": indexed,
    "health": health,
}


def app(environ, start_response):
    """Answers /lazy/N and the others of ROUTES with a number."""
    name, _, number = environ["PATH_INFO"].strip("/").partition("/")
    with Session(engine) as session:
        answer = str(ROUTES[name](session, int(number or 0))).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]
