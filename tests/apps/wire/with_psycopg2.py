"""psycopg2: the simple protocol, with the parameters in the text."""

import io
import select
import threading

import psycopg2
from psycopg2 import extensions

import wire
from wire import operation

LOG = wire.Log()
WHERE = wire.arguments()


class LoggingCursor(extensions.cursor):
    """Tells what it executes, the `BEGIN` before it included."""

    def execute(self, query, variables=None):
        self._begins()
        kind = operation(f"DECLARE {query}" if self.name else query)
        try:
            super().execute(query, variables)
        except psycopg2.Error as error:
            LOG.ran(kind, error=error.pgcode)
            raise
        # The server's tag has no rows for these, whatever the driver counts.
        LOG.ran(kind, 0 if kind in ("DECLARE", "SHOW") else self.rowcount)

    def executemany(self, query, variables):
        self._begins()
        super().executemany(query, variables)
        # How many rows each of them changed is not told, only their sum.
        for number in range(len(variables)):
            LOG.ran(operation(query), 0 if number else self.rowcount)

    def _begins(self):
        if not self.connection.autocommit and self.connection.status == extensions.STATUS_READY:
            LOG.ran("BEGIN")


class LoggingConnection(extensions.connection):
    """Tells how its transactions end."""

    def cursor(self, *arguments, **options):
        options["cursor_factory"] = LoggingCursor
        return super().cursor(*arguments, **options)

    def commit(self):
        self._end("COMMIT", super().commit)

    def rollback(self):
        self._end("ROLLBACK", super().rollback)

    def _end(self, kind, end):
        open_ = self.status == extensions.STATUS_BEGIN
        try:
            end()
        except psycopg2.Error as error:
            LOG.ran(kind, error=error.pgcode)
            raise
        if open_:
            LOG.ran(kind)


def connect(autocommit=True):
    connection = psycopg2.connect(wire.dsn(WHERE), connection_factory=LoggingConnection)
    connection.autocommit = autocommit
    return connection


class Program:
    def opens(self):
        self.connection = connect()
        self.other = connect()
        self.blocks = connect(autocommit=False)
        self.cursor = self.connection.cursor()
        self.cursor.execute("PREPARE held AS SELECT id FROM item WHERE id <= $1")

    def runs(self):
        self.reads()
        self.writes()
        self.batches()
        self.transactions()
        self.cursors()
        self.copies()
        self.failures()
        self.notifications()
        self.cancels()
        self.terminated()
        for connection in (self.connection, self.other, self.blocks):
            connection.close()

    def fails(self, sqlstate, call, *arguments):
        try:
            call(*arguments)
        except psycopg2.Error as error:
            assert error.pgcode == sqlstate, error
        else:
            raise AssertionError(f"{sqlstate} did not happen: {arguments}")

    def reads(self):
        for most in (0, 1, 100, 7):
            self.cursor.execute("SELECT id, name FROM item WHERE id <= %s ORDER BY id", (most,))
            assert len(self.cursor.fetchall()) == most
        for text in (wire.MANY_ROWS, wire.LONG_TEXT, "VALUES (1), (2), (3)", "SHOW work_mem"):
            self.cursor.execute(text)
        # Named after what it explains; its lines are no rows in its tag.
        extensions.cursor.execute(self.cursor, "EXPLAIN SELECT 1")
        LOG.ran("SELECT")
        # Run by its name: what it is was said when it was prepared.
        for most in (3, 4):
            extensions.cursor.execute(self.cursor, "EXECUTE held(%s)", (most,))
            LOG.ran("SELECT", self.cursor.rowcount, unseen="EXECUTE")

    def writes(self):
        self.cursor.execute("INSERT INTO item (id, name) SELECT n, 'new' FROM generate_series(1001, 1020) n")
        self.cursor.execute("UPDATE item SET name = 'newer' WHERE id > 1010 RETURNING id")
        assert len(self.cursor.fetchall()) == 10
        self.cursor.execute("INSERT INTO item (id, name) VALUES (1001, 'x') ON CONFLICT (id) DO NOTHING")
        self.cursor.execute("WITH gone AS (SELECT id FROM item WHERE id > 1000) DELETE FROM item USING gone WHERE item.id = gone.id")
        self.cursor.execute("DELETE FROM item WHERE id = %s", (77777,))

    def batches(self):
        """Several statements in one text."""
        extensions.cursor.execute(
            self.cursor,
            "SELECT 1; UPDATE item SET name = name WHERE id <= 5; SELECT n FROM generate_series(1, 7) n; SELECT ';'",
        )
        for kind, rows in (("SELECT", 1), ("UPDATE", 5), ("SELECT", 7), ("SELECT", 1)):
            LOG.ran(kind, rows)
        self.fails("22012", extensions.cursor.execute, self.cursor, "SELECT 1; SELECT 1 / 0; SELECT 3")
        LOG.ran("SELECT", 1)
        LOG.ran("SELECT", error="22012")

    def transactions(self):
        cursor = self.blocks.cursor()
        cursor.execute("UPDATE item SET name = 'in a block' WHERE id = 1")
        self.blocks.commit()
        cursor.execute("SAVEPOINT here")
        cursor.execute("DELETE FROM item WHERE id <= 3")
        cursor.execute("ROLLBACK TO SAVEPOINT here")
        cursor.execute("RELEASE SAVEPOINT here")
        self.blocks.rollback()
        self.fails("22012", cursor.execute, "SELECT 1 / 0")
        self.fails("25P02", cursor.execute, "SELECT 1")
        self.blocks.rollback()
        # A constraint that waits for the end of the transaction fails the COMMIT itself.
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        cursor.execute("INSERT INTO part VALUES (2, 54321)")
        self.fails("23503", self.blocks.commit)
        LOG.differs("COMMIT", 1, 0, "the command itself is over when the constraint is checked")
        LOG.differs("SELECT", 1, 0, "the check of the constraint, which nobody sent")

    def cursors(self):
        with self.blocks.cursor(name="walk") as named:
            named.execute("SELECT * FROM item ORDER BY id")
            for size, got in ((30, 30), (60, 60), (60, 10)):
                assert len(named.fetchmany(size)) == got
                LOG.ran("FETCH", got)
        LOG.ran("CLOSE")
        self.blocks.commit()

    def copies(self):
        self.cursor.execute("CREATE TEMP TABLE copied (a integer, b text)")
        for command, text in (
            ("COPY item TO STDOUT", None),
            ("COPY (SELECT * FROM item LIMIT 7) TO STDOUT WITH CSV", None),
            ("COPY copied FROM STDIN", "".join(f"{n}\t{'x' * 40}\n" for n in range(3000))),
        ):
            self.cursor.copy_expert(command, io.StringIO(text))
            LOG.ran("COPY", self.cursor.rowcount)
        self.fails("22P02", self.cursor.copy_expert, "COPY copied FROM STDIN", io.StringIO("1\tfine\nbad\tbad\n"))
        LOG.ran("COPY", error="22P02")

        class Breaks:
            """A source that fails in the middle."""

            def __init__(self):
                self.parts = ["1\tfine\n"]

            def read(self, _size):
                return self.parts.pop()

        self.fails("57014", self.cursor.copy_expert, "COPY copied FROM STDIN", Breaks())
        LOG.ran("COPY", error="57014")

    def failures(self):
        for sqlstate, text, rows in wire.FAILURES:
            self.fails(sqlstate, extensions.cursor.execute, self.cursor, text)
            LOG.ran(operation(text), rows, sqlstate)

    def notifications(self):
        self.cursor.execute("LISTEN news")
        other = self.other.cursor()
        for number in range(3):
            other.execute(f"NOTIFY news, '{number}'")
        while len(self.connection.notifies) < 3:
            select.select([self.connection], [], [])
            self.connection.poll()
        self.cursor.execute("SELECT 1")
        self.cursor.execute("UNLISTEN *")
        self.cursor.execute("DO $$ BEGIN FOR n IN 1..5 LOOP RAISE NOTICE 'notice %', n; END LOOP; END $$")

    def cancels(self):
        self.cursor.execute("SET statement_timeout = 30")
        self.fails("57014", self.cursor.execute, "SELECT pg_sleep(60)")
        self.cursor.execute("RESET statement_timeout")
        over = threading.Event()

        def cancel():
            # As often as it takes: the first may come before the statement has begun.
            while not over.wait(0.05):
                self.connection.cancel()

        thread = threading.Thread(target=cancel)
        thread.start()
        self.fails("57014", self.cursor.execute, "SELECT pg_sleep(60)")
        over.set()
        thread.join()

    def terminated(self):
        """The server ends the connection in the middle of a statement; psycopg2 keeps that it is gone, not why."""
        try:
            extensions.cursor.execute(self.other.cursor(), "SELECT pg_terminate_backend(pg_backend_pid())")
        except psycopg2.OperationalError:
            # Its row was on the way already.
            LOG.ran("SELECT", 1, "57P01")
        else:
            raise AssertionError("it went on")


if __name__ == "__main__":
    PROGRAM = Program()
    wire.obey(LOG, PROGRAM.opens, PROGRAM.runs)
