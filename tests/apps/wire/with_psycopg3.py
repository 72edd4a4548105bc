"""psycopg 3: the simple protocol, the extended one with and without prepared statements, and
pipelines; one connection for each."""

import threading

import psycopg

import wire
from wire import operation

LOG = wire.Log()
WHERE = wire.arguments()


class LoggingConnection(psycopg.Connection):
    """Tells what the driver says by itself: BEGIN, COMMIT, SAVEPOINT, DEALLOCATE ALL."""

    def _exec_command(self, command, *arguments, **options):
        text = command if isinstance(command, (bytes, str)) else command.as_bytes(self)
        kind = operation(text.decode() if isinstance(text, bytes) else text)
        try:
            result = yield from super()._exec_command(command, *arguments, **options)
        except psycopg.Error as error:
            LOG.ran(kind, error=error.sqlstate)
            raise
        LOG.ran(kind, result.command_tuples or 0 if result else 0)
        return result


class Session:
    """A connection, and how statements are sent on it."""

    def __init__(self, name, prepare_threshold, cursor_factory=psycopg.Cursor):
        self.name = name
        self.connection = LoggingConnection.connect(
            wire.dsn(WHERE), autocommit=True, prepare_threshold=prepare_threshold, cursor_factory=cursor_factory
        )

    def run(self, text, parameters=None, unseen=None, **options):
        try:
            cursor = self.connection.execute(text, parameters, **options)
        except psycopg.Error as error:
            LOG.ran(operation(text), error=error.sqlstate)
            raise
        LOG.ran(operation(text), cursor.rowcount, unseen=unseen)
        return cursor

    def fails(self, sqlstate, text, parameters=None, rows=0):
        try:
            self.connection.execute(text, parameters)
        except psycopg.Error as error:
            assert error.sqlstate == sqlstate, error
        else:
            raise AssertionError(f"{sqlstate} did not happen: {text}")
        LOG.ran(operation(text), rows, sqlstate)


class Program:
    def opens(self):
        self.simple = Session("simple", None, psycopg.ClientCursor)
        self.unprepared = Session("unprepared", None)
        self.prepared = Session("prepared", 0)
        self.pipelined = Session("pipelined", None)
        self.prepared.run("SELECT id FROM item WHERE id <= %s", (2,))
        self.sessions = (self.simple, self.unprepared, self.prepared)

    def runs(self):
        for session in self.sessions:
            self.reads(session)
            self.writes(session)
            self.transactions(session)
            self.cursors(session)
            self.failures(session)
        self.copies(self.unprepared)
        self.batches(self.simple)
        self.pipelines(self.pipelined.connection)
        self.failing_pipelines(self.pipelined.connection)
        self.notifications()
        self.cancels()
        for session in (*self.sessions, self.pipelined):
            session.connection.close()

    def reads(self, session):
        for most in (0, 1, 100, 7):
            rows = session.run("SELECT id, name FROM item WHERE id <= %s ORDER BY id", (most,)).fetchall()
            assert len(rows) == most
        for text in (wire.MANY_ROWS, wire.LONG_TEXT, "VALUES (1), (2), (3)"):
            session.run(text)
        # The driver counts its line; the server's tag has no rows.
        session.connection.execute("SHOW work_mem")
        LOG.ran("SHOW")
        # A parameter that no record holds whole.
        assert len(session.run("SELECT %s::text", ("x" * 50_000,)).fetchone()[0]) == 50_000
        if session is self.prepared:
            # Prepared by `open`: who was not there knows neither its text nor what it is.
            for most in (3, 4, 5):
                session.run("SELECT id FROM item WHERE id <= %s", (most,), unseen="unknown")
        if session is self.unprepared:
            # Row by row, as the server sends them.
            cursor = session.connection.cursor()
            rows = sum(1 for _ in cursor.stream("SELECT n FROM generate_series(1, %s) n", (50,)))
            LOG.ran("SELECT", rows)

    def writes(self, session):
        session.run("INSERT INTO item (id, name) SELECT n, %s FROM generate_series(1001, 1020) n", ("new",))
        assert len(session.run("UPDATE item SET name = %s WHERE id > 1010 RETURNING id", ("newer",)).fetchall()) == 10
        for number in range(12):
            session.run("INSERT INTO item (id, name) VALUES (%s, 'x') ON CONFLICT (id) DO NOTHING", (1015 + number,))
        session.run(
            "WITH gone AS (SELECT id FROM item WHERE id > %s) DELETE FROM item USING gone WHERE item.id = gone.id", (1000,)
        )

    def transactions(self, session):
        connection = session.connection
        with connection.transaction():
            session.run("UPDATE item SET name = 'in a block' WHERE id = %s", (1,))
            with connection.transaction():
                session.run("DELETE FROM item WHERE id = %s AND name = 'none'", (2,))
            with connection.transaction():
                session.fails("22012", "SELECT 10 / (%s::integer - 1)", (1,))
                session.fails("25P02", "SELECT 1")
                raise psycopg.Rollback
        with connection.transaction():
            session.fails("42P01", "SELECT * FROM nowhere WHERE id = %s", (1,))
            session.fails("25P02", "SELECT %s::integer", (1,))
            raise psycopg.Rollback
        try:
            with connection.transaction():
                session.run("SET CONSTRAINTS part_item DEFERRED")
                session.run("INSERT INTO part VALUES (%s, %s)", (3, 54321))
        except psycopg.Error as error:
            assert error.sqlstate == "23503", error
        LOG.differs("COMMIT", 1, 0, "the command itself is over when the constraint is checked")
        LOG.differs("SELECT", 1, 0, "the check of the constraint, which nobody sent")

    def cursors(self, session):
        connection = session.connection
        with connection.transaction(), psycopg.ServerCursor(connection, "walk") as named:
            named.execute("SELECT * FROM item ORDER BY id")
            LOG.ran("DECLARE")
            for size, got in ((30, 30), (60, 60), (60, 10)):
                assert len(named.fetchmany(size)) == got

    def failures(self, session):
        for sqlstate, text, rows in wire.FAILURES:
            session.fails(sqlstate, text, rows=rows)
        # Wrong parameters: found when they are bound, but for the simple protocol.
        session.fails("22P02", "SELECT %s::integer", ("x",))
        session.fails("22012", "SELECT 1 / %s::integer", (0,))
        session.fails("22012", "SELECT 1 / (%s::integer - n) FROM generate_series(1, 50) n", (40,), rows=39)

    def copies(self, session):
        session.run("CREATE TEMP TABLE copied (a integer, b text)")
        cursor = session.connection.cursor()
        for command in ("COPY item TO STDOUT", "COPY (SELECT * FROM item LIMIT 7) TO STDOUT (FORMAT binary)"):
            with cursor.copy(command) as copy:
                for _ in copy:
                    pass
            LOG.ran("COPY", cursor.rowcount)
        with cursor.copy("COPY copied FROM STDIN") as copy:
            for number in range(3000):
                copy.write_row((number, "x" * 40))
        LOG.ran("COPY", cursor.rowcount)
        for sqlstate in ("22P02", "57014"):
            try:
                with cursor.copy("COPY copied FROM STDIN") as copy:
                    copy.write("1\tfine\nbad\tbad\n" if sqlstate == "22P02" else "1\tfine\n")
                    if sqlstate == "57014":
                        raise RuntimeError("the source fails in the middle")
            except (psycopg.Error, RuntimeError):
                LOG.ran("COPY", error=sqlstate)
            else:
                raise AssertionError(sqlstate)

    def batches(self, session):
        """Several statements in one text."""
        session.connection.execute("SELECT 1; UPDATE item SET name = name WHERE id <= 5; SELECT ';'")
        for kind, rows in (("SELECT", 1), ("UPDATE", 5), ("SELECT", 1)):
            LOG.ran(kind, rows)
        session.fails("22012", "SELECT 1; SELECT 1 / 0; SELECT 3")
        LOG.ran("SELECT", 1)

    def pipelines(self, connection):
        """Everything that one flush carries fits a record: what does not is told as uncertain."""
        for prepare in (False, True):
            with connection.pipeline():
                cursors = [
                    connection.execute("SELECT id FROM item WHERE id <= %s", (n,), prepare=prepare) for n in range(8)
                ]
                counts = [len(cursor.fetchall()) for cursor in cursors]
            assert counts == list(range(8))
            for rows in counts:
                LOG.ran("SELECT", rows)
        with connection.pipeline(), connection.cursor() as cursor:
            cursor.executemany("UPDATE item SET name = %s WHERE id = %s", [(f"n{n}", n) for n in range(10)])
        for number in range(10):
            LOG.ran("UPDATE", min(number, 1))
        with connection.pipeline() as pipeline:
            for number in range(5):
                connection.execute("SELECT %s::integer", (number,))
                pipeline.sync()
        for number in range(5):
            LOG.ran("SELECT", 1)
        with connection.pipeline(), connection.transaction():
            connection.execute("INSERT INTO item (id, name) VALUES (%s, %s)", (4000, "in a pipeline"))
            connection.execute("DELETE FROM item WHERE id = %s", (4000,))
        LOG.ran("INSERT", 1)
        LOG.ran("DELETE", 1)

    def failing_pipelines(self, connection):
        for sqlstate, text, parameters in (
            ("42P01", "SELECT * FROM nowhere WHERE id = %s", (1,)),
            ("22P02", "SELECT %s::integer", ("x",)),
            ("23505", "INSERT INTO item VALUES (%s, 'again')", (1,)),
        ):
            try:
                with connection.pipeline():
                    connection.execute("UPDATE item SET name = name WHERE id = %s", (1,))
                    connection.execute(text, parameters)
                    # Never run, so that nobody counts it.
                    connection.execute("SELECT 'skipped'")
            except psycopg.Error as error:
                assert error.sqlstate == sqlstate, error
            else:
                raise AssertionError(sqlstate)
            LOG.ran("UPDATE", 1)
            LOG.ran(operation(text), error=sqlstate)

    def notifications(self):
        listener, sender = self.unprepared, self.simple
        listener.run("LISTEN news")
        for number in range(3):
            sender.run(f"NOTIFY news, '{number}'")
        got = list(listener.connection.notifies(stop_after=3))
        assert [notice.payload for notice in got] == ["0", "1", "2"]
        listener.run("SELECT 1")
        listener.run("UNLISTEN *")

    def cancels(self):
        session = self.unprepared
        over = threading.Event()

        def cancel():
            # As often as it takes: the first may come before the statement has begun.
            while not over.wait(0.05):
                session.connection.cancel_safe()

        thread = threading.Thread(target=cancel)
        thread.start()
        session.fails("57014", "SELECT pg_sleep(%s)", (60,))
        over.set()
        thread.join()


if __name__ == "__main__":
    PROGRAM = Program()
    wire.obey(LOG, PROGRAM.opens, PROGRAM.runs)
