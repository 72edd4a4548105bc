"""What the programs here have in common: how they are told what to do, and what they say they did.

A program is started with the address of a server. It reads one command a line: `open` opens its
connections and prepares the statements that are to be prepared before anybody watches, `run` does
everything else and ends the program. It answers each with an event, and `run` with one line of
JSON for each statement that the server answered:

    operation   kind of statement, as in the tag that the server answers with
    unseen      the kind that can be told by one who did not see what `open` did, where it differs
    rows        rows that the client got or that the server says it changed
    error       SQLSTATE, empty on success
    phase       the command that it belongs to

and one for each difference between this and `pg_stat_statements` that is known and explained.
"""

import argparse
import json
import re
import sys
import threading

SYNONYMS = {"START": "BEGIN", "END": "COMMIT", "ABORT": "ROLLBACK", "VALUES": "SELECT"}
KNOWN = """SELECT INSERT UPDATE DELETE BEGIN COMMIT ROLLBACK SAVEPOINT RELEASE COPY SET RESET SHOW DECLARE FETCH MOVE CLOSE
PREPARE EXECUTE DEALLOCATE DISCARD LISTEN NOTIFY UNLISTEN CREATE DROP TRUNCATE DO CALL LOCK""".split()

# Failures, by the step of the extended protocol in which they happen: there the parser and the
# planner have steps of their own. Each with the rows that the server sent before.
IN_PARSE = [
    ("42601", "SELEC 1", 0),
    ("42P01", "SELECT * FROM nowhere", 0),
    ("42703", "SELECT missing FROM item", 0),
    ("42883", "SELECT missing(1)", 0),
    ("22P02", "SELECT 'x'::integer", 0),
]
# Constants are folded when a plan is made, which is when parameters are bound.
IN_BIND = [("22012", "SELECT 1 / 0", 0)]
IN_EXECUTE = [
    ("22012", "SELECT 10 / (id - id) FROM item", 0),
    ("23505", "INSERT INTO item VALUES (1, 'again')", 0),
    ("23502", "INSERT INTO item VALUES (NULL, 'nothing')", 0),
    ("23514", "UPDATE item SET price = -1 WHERE id = 1", 0),
    ("23503", "INSERT INTO part VALUES (1, 12345)", 0),
    ("P0001", "DO $$ BEGIN RAISE NOTICE 'before'; RAISE EXCEPTION 'now'; END $$", 0),
    ("22012", "SELECT 1 / (40 - n) FROM generate_series(1, 50) n", 39),
]
FAILURES = IN_PARSE + IN_BIND + IN_EXECUTE

# 220 kB of rows: many calls of the server, none of which fits what a record holds.
MANY_ROWS = "SELECT n, repeat('x', 100) FROM generate_series(1, 2000) n"
# A text that no record holds whole.
LONG_TEXT = "SELECT 1 AS one /* " + "long " * 4000 + "*/"


def operation(sql):
    """The kind of a statement: its first word at its own level, `WITH` and its queries apart."""
    text = re.sub(r"/\*.*?\*/|--[^\n]*", " ", sql, flags=re.DOTALL)
    while "(" in text:
        text, changed = re.subn(r"\([^()]*\)", " ", text)
        if not changed:
            break
    words = text.replace(";", " ").upper().split()
    if words[0] == "WITH":
        words = [word for word in words if word in ("SELECT", "INSERT", "UPDATE", "DELETE")]
    if words[:2] == ["ROLLBACK", "TO"]:
        return "ROLLBACK TO"
    word = SYNONYMS.get(words[0], words[0])
    return word if word in KNOWN else "OTHER"


class Log:
    """What a program did."""

    def __init__(self):
        self.lines = []
        self.phase = "open"
        self.lock = threading.Lock()

    def ran(self, kind, rows=0, error="", unseen=None):
        """A statement that the server answered."""
        line = {"phase": self.phase, "operation": kind, "unseen": unseen or kind, "rows": max(rows, 0), "error": error}
        with self.lock:
            self.lines.append(line)

    def differs(self, kind, calls, rows, why):
        """`pg_stat_statements` counts that many more."""
        with self.lock:
            self.lines.append({"differs": kind, "calls": calls, "rows": rows, "why": why})

    def show(self):
        """Hands everything over."""
        for line in self.lines:
            print(json.dumps(line))


def arguments():
    """Where the server is."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--sslmode", required=True, choices=["disable", "require"])
    return parser.parse_args()


def dsn(where):
    """The same for libpq."""
    return (
        f"host={where.host} port={where.port} user=postgres dbname={where.database} "
        f"sslmode={where.sslmode} gssencmode=disable"
    )


def event(name):
    """Tells that a command was done."""
    print(json.dumps({"event": name}), flush=True)


def obey(log, opens, runs):
    """Does what it is told."""
    event("started")
    commands = {"open": opens, "run": runs}
    while line := sys.stdin.readline():
        log.phase = line.strip()
        commands[log.phase]()
        if log.phase == "run":
            log.show()
            event("ran")
            return
        event("opened")
