"""SQLAlchemy over psycopg2 with a pool, used by several threads at once."""

import threading

import sqlalchemy
from sqlalchemy import Column, ForeignKey, Integer, Text, func, orm, select

import wire
from with_psycopg2 import LOG, connect

POOL = 3


class Base(orm.DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    id = Column(Integer, primary_key=True)
    name = Column(Text)
    price = Column(Integer)


class Part(Base):
    __tablename__ = "part"
    id = Column(Integer, primary_key=True)
    item = Column(ForeignKey("item.id"))


class Program:
    def opens(self):
        # The connections tell what they are asked, by SQLAlchemy itself or on its behalf.
        self.engine = sqlalchemy.create_engine(
            "postgresql+psycopg2://", creator=lambda: connect(autocommit=False), pool_size=POOL, pool_pre_ping=True
        )
        connections = [self.engine.connect() for _ in range(POOL)]
        for connection in connections:
            connection.execute(sqlalchemy.text("SELECT 1"))
            connection.close()

    def runs(self):
        self.done = []
        threads = [threading.Thread(target=self.work, args=(number,)) for number in range(POOL)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(self.done) == POOL, "a thread failed"
        self.engine.dispose()

    def work(self, number):
        first = 2000 + 1000 * number
        for _ in range(5):
            with orm.Session(self.engine) as session:
                items = session.scalars(select(Item).where(Item.id <= 20)).all()
                assert len(items) == 20
                session.scalar(select(func.count()).select_from(Item))
        with orm.Session(self.engine) as session:
            session.add_all(Item(id=first + n, name=f"item {n}", price=n) for n in range(50))
            session.commit()
            for item in session.scalars(select(Item).where(Item.id.between(first, first + 4))):
                item.name = "changed"
            session.commit()
            session.add(Item(id=first, name="again"))
            try:
                session.commit()
            except sqlalchemy.exc.IntegrityError:
                session.rollback()
            else:
                raise AssertionError("the same key twice")
        with self.engine.begin() as connection:
            connection.execute(sqlalchemy.delete(Item).where(Item.id.between(first, first + 999)))
        with self.engine.connect() as connection:
            connection.execute(select(Item.id).where(Item.name == "nobody")).all()
        self.done.append(number)


if __name__ == "__main__":
    PROGRAM = Program()
    wire.obey(LOG, PROGRAM.opens, PROGRAM.runs)
