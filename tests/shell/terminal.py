#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""terminal.py -- twzdb on a pseudo-terminal: terminal.py TWZDB [CASE...]

Prompt, history, continuation, Ctrl-C, Ctrl-D, completion, resize, colours, progress: what a transcript through a pipe cannot show. Each case
starts its own twzdb; waits are for expected text, with a deadline, never for a fixed time.
"""
import errno
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import sys
import tempfile
import termios
import time

DEADLINE = 20.0
TWZDB = os.path.abspath(sys.argv[1])
CONTROL = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\x07|\r")


class Failed(Exception):
    pass


class Session:
    """twzdb as a child on a terminal of its own."""

    def __init__(self, *args, cols=80, colour=False, **env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm", LC_ALL="C.UTF-8", TWZDB_HISTORY="history", **env)
            if not colour:
                os.environ["NO_COLOR"] = "1"
            else:
                os.environ.pop("NO_COLOR", None)
            os.execv(TWZDB, ["twzdb", *args])
        self.resize(cols)
        self.raw = b""
        self.seen = 0  # of the text without control sequences

    def resize(self, cols):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, cols, 0, 0))

    def text(self):
        return CONTROL.sub(b"", self.raw).decode("utf-8", "replace")

    def read_some(self, timeout):
        if not select.select([self.fd], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError as e:
            if e.errno != errno.EIO:  # EIO: the child has closed its side
                raise
            data = b""
        self.raw += data
        return bool(data)

    def expect(self, pattern, raw=False):
        """Wait until PATTERN (a regular expression) appears after what was expected before."""
        end = time.monotonic() + DEADLINE
        while True:
            text = self.raw.decode("utf-8", "replace") if raw else self.text()
            m = re.compile(pattern).search(text, 0 if raw else self.seen)
            if m:
                if not raw:
                    self.seen = m.end()
                return m
            left = end - time.monotonic()
            if left <= 0 or not self.read_some(left):
                raise Failed("waited for %r, got %r" % (pattern, text[0 if raw else self.seen:][-1500:]))

    def send(self, text):
        os.write(self.fd, text.encode())

    def line(self, text):
        self.send(text + "\n")

    def prompt(self):
        self.expect(r"twzdb\*?> $")

    def quiet(self, seconds=0.3):
        """Nothing more arrives for a while: the child waits."""
        while self.read_some(seconds):
            pass

    def exit_code(self):
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            self.read_some(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        raise Failed("did not exit; last output %r" % self.text()[-500:])

    def bye(self):
        self.line(".quit")
        check(self.exit_code(), 0, "exit code")


def check(got, want, what):
    if got != want:
        raise Failed("%s: got %r, want %r" % (what, got, want))


def greets_and_leaves():
    s = Session("app.twz")
    s.expect(r"twzdb \S+: app\.twz, 0 tables, .+\.\nSQLite 3\S+\. Type \.help for help, \.quit to leave\.")
    s.prompt()
    s.send("\x04")  # Ctrl-D
    check(s.exit_code(), 0, "exit code after Ctrl-D")
    s = Session(":memory:")
    s.expect(r":memory:, 0 tables, kept in memory only\.")
    s.prompt()
    s.line(".quit 5")
    check(s.exit_code(), 5, "exit code of .quit 5")


def continues_statements():
    s = Session("app.twz")
    s.prompt()
    s.line("SELECT 6 *")
    s.expect(r"   \.\.\.> $")
    s.line("7")
    s.expect(r"   \.\.\.> $")
    s.line("AS answer;")
    s.expect(r"│ answer │\n.*\n│ +42 │")
    s.prompt()
    s.line("BEGIN;")
    s.expect(r"twzdb\*> $")  # the star: a transaction is open
    s.line("ROLLBACK;")
    s.expect(r"twzdb> $")
    s.bye()


def remembers_history():
    s = Session("app.twz")
    s.prompt()
    s.line("SELECT 'first';")
    s.prompt()
    s.line("SELECT 'two")
    s.expect(r"\.\.\.> $")
    s.line("lines';")
    s.prompt()
    s.line("SELECT 'joined',")
    s.expect(r"\.\.\.> $")
    s.line("2;")
    s.prompt()
    s.line(" SELECT 'a secret';")
    s.prompt()
    s.bye()
    check(oct(os.stat("history").st_mode & 0o777), "0o600", "mode of the history file")
    lines = open("history").read().splitlines()
    check(lines, ["SELECT 'first';", "SELECT 'two", "lines';", "SELECT 'joined', 2;", ".quit"], "history file")
    s = Session("app.twz")  # the next session has it
    s.prompt()
    s.send("\x1b[A\x1b[A")  # up, up
    s.expect(r"SELECT 'joined', 2;")
    s.send("\n")
    s.expect(r"│ joined +│ 2 │")
    s.prompt()
    s.send("\x12")  # Ctrl-R
    s.send("first")
    s.expect(r"SELECT 'first';")
    s.send("\n")
    s.expect(r"│ first")
    s.prompt()
    s.bye()


def kill_keeps_history():
    s = Session("app.twz")
    s.prompt()
    s.line("SELECT 'before the kill';")
    s.prompt()
    os.kill(s.pid, signal.SIGKILL)
    check(s.exit_code(), -signal.SIGKILL, "exit status")
    check(open("history").read(), "SELECT 'before the kill';\n", "history file")


def ctrl_c_at_the_prompt():
    s = Session("app.twz")
    s.prompt()
    s.send("SELECT 'never run';")
    s.expect(r"never run';$")
    s.send("\x03")
    s.expect(r"\^C\n")
    s.prompt()
    s.line("SELECT 1,")
    s.expect(r"\.\.\.> $")
    s.send("\x03")  # gives the half statement up
    s.expect(r"\^C\n")
    s.prompt()
    s.send("\x03")  # with nothing typed: how to leave
    s.expect(r"\.quit or Ctrl-D leaves")
    s.prompt()
    s.line("SELECT 'still ' || 'here';")
    s.expect(r"│ still here")
    s.prompt()
    s.bye()


def ctrl_c_stops_a_statement():
    s = Session("app.twz")
    s.prompt()
    s.line("CREATE TABLE t(x); INSERT INTO t VALUES(1);")
    s.prompt()
    s.line("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) INSERT INTO t SELECT x FROM c;")
    s.expect(r"running, Ctrl-C cancels: \d+ s")
    s.send("\x03")
    s.expect(r"twzdb: .*interrupted")
    s.prompt()
    s.line("SELECT 'rows: ' || count(*) FROM t;")
    s.expect(r"rows: 1 +│")
    s.prompt()
    s.bye()


def ctrl_c_stops_a_script():
    with open("endless.sql", "w") as f:
        f.write("SELECT 1;\nWITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c;\nSELECT 'not reached';\n")
    s = Session("app.twz", ".read endless.sql")
    s.expect(r"1\n")
    s.quiet()
    s.send("\x03")
    check(s.exit_code(), 130, "exit code of an interrupted script")
    if "not reached" in s.text():
        raise Failed("the script went on after Ctrl-C")


def completes():
    s = Session("app.twz")
    s.prompt()
    s.line("CREATE TABLE packages(name TEXT, version TEXT); CREATE TABLE \"odd name\"(x);")
    s.prompt()
    s.send(".sch\t")
    s.expect(r"\.schema $")
    s.send("pack\t")
    s.expect(r"packages $")
    s.send("\n")
    s.expect(r"CREATE TABLE packages\(name TEXT, version TEXT\);")
    s.prompt()
    s.send("SELECT vers\t")
    s.expect(r"version $")
    s.send("fr\t")
    s.expect(r"from $")
    s.send("pack\t;\n")
    s.prompt()
    s.send("SELECT * FROM odd\t")
    s.expect(r"\"odd name\" $")
    s.send("\x03")
    s.prompt()
    s.send(".mode j\t")  # two candidates: the common part
    s.expect(r"json$")
    s.send("\t")
    s.expect(r"json +jsonlines")
    s.send("\x03")
    s.prompt()
    open("script-one.sql", "w").close()
    s.send(".read scr\t")
    s.expect(r"script-one\.sql $")
    s.send("\n")
    s.prompt()
    s.send("SEL\t")
    s.expect(r"SELECT $")
    s.send("\x03")
    s.prompt()
    s.send(".zzz\t")  # no candidate: nothing happens
    s.expect(r"\.zzz$")
    s.send("\x03")
    s.prompt()
    s.bye()


def follows_the_window():
    s = Session("app.twz", cols=40)
    s.prompt()
    s.send("SELECT '" + "x" * 50 + "' AS long;")
    s.quiet()
    s.resize(100)
    os.kill(s.pid, signal.SIGWINCH)
    s.quiet()
    s.send("\n")
    s.expect(r"│ x{50} │")
    s.prompt()
    for i in range(20):  # storms do no harm, and are no end of input
        s.resize(60 + i)
    s.line("SELECT 'alive';")
    s.expect(r"│ alive")
    s.prompt()
    s.bye()


def stops_and_continues():
    s = Session("app.twz")
    s.prompt()
    s.send("SELECT 'half")
    s.expect(r"half$")
    os.kill(s.pid, signal.SIGSTOP)
    os.kill(s.pid, signal.SIGCONT)
    s.send(" whole';\n")
    s.expect(r"│ half whole")
    s.prompt()
    s.bye()


def edits_wide_characters():
    s = Session("app.twz")
    s.prompt()
    s.send("SELECT 'né日本x\x7f' AS w;\n")  # backspace over the x
    s.expect(r"│ né日本 │")
    s.prompt()
    s.bye()


def colours_only_when_wanted():
    s = Session("app.twz", colour=True)
    s.expect(r"twzdb> ")
    s.line("SELECT 1 AS one, NULL AS none;")
    s.expect(r"\x1b\[1mone\x1b\[0m", raw=True)
    s.line("SELECT none;")
    s.expect(r"\x1b\[1;31mtwzdb:\x1b\[0m", raw=True)
    s.bye()
    s = Session("app.twz")
    s.prompt()
    s.line("SELECT 1 AS one; SELECT none;")
    s.expect(r"twzdb: no such column")
    s.prompt()
    if b"\x1b[1m" in s.raw or b"\x1b[1;31m" in s.raw:
        raise Failed("colours in spite of NO_COLOR")
    s.bye()


def errors_name_no_file():
    s = Session("app.twz")
    s.prompt()
    s.line("SELECT * FROM nowhere;")
    s.expect(r"\ntwzdb: no such table: nowhere; try \.tables\n")
    s.prompt()
    s.line(".import nothere.csv t")
    s.expect(r"\ntwzdb: \.import: cannot open nothere\.csv \(No such file or directory\)")
    s.prompt()
    s.bye()


def makes_control_characters_visible():
    s = Session("app.twz")
    s.prompt()
    s.line(".mode list")
    s.prompt()
    s.line("SELECT 'a' || char(27) || '[31m' || char(0) || 'b', X'00ff';")
    s.expect(r"a\^\[\[31m\^@b\|X'00ff'")
    s.prompt()
    s.bye()


def import_shows_progress():
    os.mkfifo("slow")
    s = Session("app.twz")
    s.prompt()
    s.line(".import slow t")
    with open("slow", "w") as f:
        f.write("a,b\n")
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            f.write("1,2\n" * 500)
            f.flush()
            time.sleep(0.05)
    s.expect(r"importing [\d,]+, \d+ s")
    s.expect(r"[\d,]+ rows into t in \d+\.\d+ s")
    s.prompt()
    s.bye()


def batch_never_prompts():
    s = Session("-batch", "app.twz")
    s.line("SELECT 'from the terminal';")
    s.expect(r"\nfrom the terminal\n")
    s.send("\x04")
    check(s.exit_code(), 0, "exit code")
    if "twzdb>" in s.text():
        raise Failed("a prompt in spite of -batch")


def pager_that_leaves_early():
    s = Session("app.twz")
    s.prompt()
    s.line(".once |head -1")
    s.prompt()
    s.line("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 200000) SELECT x FROM c;")
    s.prompt()
    s.line("SELECT 'goes ' || 'on';")
    s.expect(r"│ goes on")
    s.prompt()
    s.bye()


CASES = [greets_and_leaves, continues_statements, remembers_history, kill_keeps_history, ctrl_c_at_the_prompt, ctrl_c_stops_a_statement,
         ctrl_c_stops_a_script, completes, follows_the_window, stops_and_continues, edits_wide_characters, colours_only_when_wanted,
         errors_name_no_file, makes_control_characters_visible, import_shows_progress, batch_never_prompts, pager_that_leaves_early]


def main():
    work = tempfile.mkdtemp(prefix="twzdb-pty-")
    os.environ["HOME"] = work
    failed = 0
    try:
        for case in CASES:
            if sys.argv[2:] and case.__name__ not in sys.argv[2:]:
                continue
            d = os.path.join(work, case.__name__)
            os.mkdir(d)
            os.chdir(d)
            start = time.monotonic()
            try:
                case()
                print("ok      %-32s %5.1f s" % (case.__name__, time.monotonic() - start), flush=True)
            except Failed as e:
                print("FAILED  %s: %s" % (case.__name__, e), flush=True)
                failed += 1
    finally:
        os.chdir("/")
        shutil.rmtree(work, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
