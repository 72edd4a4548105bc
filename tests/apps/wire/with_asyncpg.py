"""asyncpg: the extended protocol with prepared statements, whatever is asked."""

import asyncio
import io

import asyncpg

import wire
from wire import operation

LOG = wire.Log()
WHERE = wire.arguments()

# asyncpg sends these when a connection goes back to its pool, in one text.
RESET = [("SELECT", 1), ("CLOSE", 0), ("UNLISTEN", 0), ("RESET", 0)]


def changed(status):
    """Rows of a tag such as `INSERT 0 3`."""
    last = status.split()[-1]
    return int(last) if last.isdigit() else 0


class Program:
    def __init__(self):
        self.loop = asyncio.new_event_loop()

    def opens(self):
        self.loop.run_until_complete(self.open_all())

    def runs(self):
        self.loop.run_until_complete(self.run_all())

    async def open_all(self):
        self.pool = await asyncpg.create_pool(
            host=WHERE.host,
            port=int(WHERE.port),
            user="postgres",
            database=WHERE.database,
            ssl="require" if WHERE.sslmode == "require" else False,
            min_size=2,
            max_size=2,
        )
        self.connection = await self.pool.acquire()
        self.held = await self.connection.prepare("SELECT id FROM item WHERE id <= $1")

    async def run_all(self):
        await self.reads()
        await self.writes()
        await self.transactions()
        await self.cursors()
        await self.copies()
        await self.failures()
        await self.notifications()
        await self.cancels()
        await self.in_parallel()
        await self.release(self.connection)
        await self.pool.close()

    async def release(self, connection):
        await self.pool.release(connection)
        for kind, rows in RESET:
            LOG.ran(kind, rows)

    async def fetch(self, text, *arguments, connection=None):
        rows = await (connection or self.connection).fetch(text, *arguments)
        LOG.ran(operation(text), len(rows))
        return rows

    async def execute(self, text, *arguments):
        status = await self.connection.execute(text, *arguments)
        LOG.ran(operation(text), changed(status))

    async def fails(self, sqlstate, text, *arguments, rows=0):
        try:
            await self.connection.fetch(text, *arguments)
        except asyncpg.PostgresError as error:
            assert error.sqlstate == sqlstate, error
        else:
            raise AssertionError(f"{sqlstate} did not happen: {text}")
        LOG.ran(operation(text), rows, sqlstate)

    async def reads(self):
        for most in (0, 1, 100, 7):
            assert len(await self.fetch("SELECT id, name FROM item WHERE id <= $1 ORDER BY id", most)) == most
        for text in (wire.MANY_ROWS, wire.LONG_TEXT, "VALUES (1), (2), (3)", "SHOW work_mem"):
            rows = await self.connection.fetch(text)
            LOG.ran(operation(text), len(rows) if text != "SHOW work_mem" else 0)
        await self.fetch("SELECT $1::text", "x" * 50_000)
        # One row is asked for, and taken: the portal is left suspended.
        assert await self.connection.fetchval("SELECT count(*) FROM item") == 100
        LOG.ran("SELECT", 1)
        await self.connection.fetchrow("SELECT * FROM item ORDER BY id")
        LOG.ran("SELECT", 1)
        # Prepared by `open`: who was not there knows neither its text nor what it is.
        for most in (3, 4, 5):
            assert len(await self.held.fetch(most)) == most
            LOG.ran("SELECT", most, unseen="unknown")

    async def writes(self):
        await self.execute("INSERT INTO item (id, name) SELECT n, $1 FROM generate_series(1001, 1020) n", "new")
        await self.fetch("UPDATE item SET name = $1 WHERE id > 1010 RETURNING id", "newer")
        await self.connection.executemany("UPDATE item SET name = $2 WHERE id = $1", [(n, f"m{n}") for n in range(20)])
        for number in range(20):
            LOG.ran("UPDATE", min(number, 1))
        await self.execute(
            "WITH gone AS (SELECT id FROM item WHERE id > $1) DELETE FROM item USING gone WHERE item.id = gone.id", 1000
        )
        # Without parameters it is the simple protocol, which takes several statements.
        await self.connection.execute("SELECT 1; UPDATE item SET name = name WHERE id <= 5; SELECT ';'")
        for kind, rows in (("SELECT", 1), ("UPDATE", 5), ("SELECT", 1)):
            LOG.ran(kind, rows)

    async def transactions(self):
        async with self.connection.transaction():
            LOG.ran("BEGIN")
            await self.execute("UPDATE item SET name = 'in a block' WHERE id = $1", 1)
            async with self.connection.transaction():
                LOG.ran("SAVEPOINT")
                await self.execute("DELETE FROM item WHERE id = $1 AND name = 'none'", 2)
            LOG.ran("RELEASE")
            inner = self.connection.transaction()
            await inner.start()
            LOG.ran("SAVEPOINT")
            await self.fails("22012", "SELECT 10 / ($1::integer - 1)", 1)
            await self.fails("25P02", "SELECT 2")
            await inner.rollback()
            LOG.ran("ROLLBACK TO")
        LOG.ran("COMMIT")
        block = self.connection.transaction()
        await block.start()
        LOG.ran("BEGIN")
        await self.fails("42P01", "SELECT * FROM nowhere")
        await self.fails("25P02", "SELECT 3")
        await block.rollback()
        LOG.ran("ROLLBACK")

    async def cursors(self):
        async with self.connection.transaction():
            LOG.ran("BEGIN")
            rows = [row async for row in self.connection.cursor("SELECT * FROM item ORDER BY id", prefetch=30)]
            assert len(rows) == 100
            LOG.ran("SELECT", 100)
            LOG.differs("SELECT", 0, -90, "of a portal it has the rows of the last fetch only")
        LOG.ran("COMMIT")

    async def copies(self):
        status = await self.connection.copy_from_query("SELECT * FROM item", output=io.BytesIO())
        LOG.ran("COPY", changed(status))
        await self.execute("CREATE TEMP TABLE copied (a integer, b text)")
        status = await self.connection.copy_records_to_table("copied", records=[(n, "x" * 40) for n in range(3000)])
        LOG.ran("COPY", changed(status))

    async def failures(self):
        for sqlstate, text, rows in wire.FAILURES:
            await self.fails(sqlstate, text, rows=rows)
        await self.fails("22012", "SELECT 1 / $1::integer", 0)
        await self.fails("22012", "SELECT 1 / ($1::integer - n) FROM generate_series(1, 50) n", 40, rows=39)

    async def notifications(self):
        got = asyncio.Queue()
        listener = lambda _connection, _pid, _channel, payload: got.put_nowait(payload)
        await self.connection.add_listener("news", listener)
        LOG.ran("LISTEN")
        other = await self.pool.acquire()
        for number in range(3):
            await other.execute(f"NOTIFY news, '{number}'")
            LOG.ran("NOTIFY")
        assert [await got.get() for _ in range(3)] == ["0", "1", "2"]
        await self.release(other)
        await self.fetch("SELECT 1")
        await self.connection.remove_listener("news", listener)
        LOG.ran("UNLISTEN")

    async def cancels(self):
        """A time-out of the client's makes it cancel on a connection of its own."""
        try:
            await self.connection.fetch("SELECT pg_sleep($1)", 60, timeout=0.3)
        except asyncio.TimeoutError:
            LOG.ran("SELECT", error="57014")
        else:
            raise AssertionError("it slept through")

    async def in_parallel(self):
        """Both connections of the pool at once."""
        other = await self.pool.acquire()
        await asyncio.gather(
            *(self.several(connection, count) for connection, count in ((self.connection, 20), (other, 15)))
        )
        await self.release(other)

    async def several(self, connection, count):
        for number in range(count):
            await self.fetch("SELECT id, name FROM item WHERE id <= $1", number, connection=connection)


if __name__ == "__main__":
    PROGRAM = Program()
    wire.obey(LOG, PROGRAM.opens, PROGRAM.runs)
