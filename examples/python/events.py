#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""events.py EXTENSION STORE -- Python's sqlite3 module on a store: two connections, a snapshot, a refused write"""
import sqlite3
import sys

extension, store = sys.argv[1:3]

# Loaded once per process; it stays when this connection is closed.
loader = sqlite3.connect(":memory:")
loader.enable_load_extension(True)
loader.load_extension(extension)
loader.close()


def connect(options=""):
    return sqlite3.connect(f"file:{store}?vfs=twz{options}", uri=True, isolation_level=None)


writer = connect()
writer.execute("create table if not exists event(id integer primary key, what text)")
writer.executemany("insert into event(what) values(?)", [("started",), ("loaded",)])

reader = connect()
reader.execute("begin")
print(reader.execute("select count(*) from event").fetchone()[0], "events when the reader began")

# The writer does not wait for the reader, and the reader sees its snapshot to the end.
writer.execute("insert into event(what) values('finished')")
print(reader.execute("select count(*) from event").fetchone()[0], "events in the same transaction")
reader.execute("commit")
print(reader.execute("select count(*) from event").fetchone()[0], "events in the next")

only = connect("&mode=ro")
try:
    only.execute("delete from event")
except sqlite3.OperationalError as e:
    print("read-only:", e)
print(writer.execute("pragma integrity_check").fetchone()[0])
