"""Statements that take their time, with each driver, and how long they took by this program's own
clock."""

import asyncio
import json
import time

import asyncpg
import psycopg
import psycopg2

import wire

WHERE = wire.arguments()
# Sleeping, and computing. The series is made row by row: one that is kept as a table has to be dropped when the
# portal is closed, which the server's own duration has in the simple protocol and lacks in the extended one.
STATEMENTS = (
    ["SELECT pg_sleep(0.01)"] * 10
    + ["SELECT pg_sleep(0.05)"] * 4
    + ["SELECT sum(n) FROM (SELECT generate_series(1, 100000) AS n) AS series"] * 10
)


def dsn(driver):
    """Each driver has a database of its own, which tells its statements apart everywhere."""
    return wire.dsn(WHERE).replace(f"dbname={WHERE.database}", f"dbname={WHERE.database}_{driver}")


class Program:
    """Runs the statements with every driver, one after the other."""

    def opens(self):
        self.loop = asyncio.new_event_loop()

    def runs(self):
        with_psycopg2 = psycopg2.connect(dsn("psycopg2"))
        with_psycopg2.autocommit = True
        self.measure("psycopg2", with_psycopg2.cursor().execute)
        with_psycopg2.close()
        for name, threshold in (("unprepared", None), ("prepared", 0)):
            with psycopg.connect(dsn(name), autocommit=True, prepare_threshold=threshold) as connection:
                # With parameters, so that it is the extended protocol.
                self.measure(name, lambda text: connection.execute(text + " WHERE %s", (True,)))
        self.loop.run_until_complete(self.with_asyncpg())

    def measure(self, driver, execute):
        began = time.perf_counter()
        for text in STATEMENTS:
            execute(text)
        self.tell(driver, time.perf_counter() - began)

    async def with_asyncpg(self):
        connection = await asyncpg.connect(
            host=WHERE.host,
            port=int(WHERE.port),
            user="postgres",
            database=f"{WHERE.database}_asyncpg",
            ssl="require" if WHERE.sslmode == "require" else False,
        )
        began = time.perf_counter()
        for text in STATEMENTS:
            await connection.fetch(text)
        self.tell("asyncpg", time.perf_counter() - began)
        await connection.close()

    def tell(self, driver, seconds):
        print(json.dumps({"driver": driver, "seconds": seconds, "statements": len(STATEMENTS)}))


if __name__ == "__main__":
    PROGRAM = Program()
    wire.obey(wire.Log(), PROGRAM.opens, PROGRAM.runs)
