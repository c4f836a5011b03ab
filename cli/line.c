/* SPDX-License-Identifier: MIT
 * line.c -- the interactive session: libedit, history, prompts, Ctrl-C, Tab
 *
 * libedit's own signal handling resends signals to the whole process group, so it stays off
 * (EL_SIGNAL 0) and read_key() below notices Ctrl-C, a new window size and a return from Ctrl-Z
 * itself.
 */
#include "line.h"

#include <errno.h>
#include <histedit.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define HISTORY_MAX 2000

static struct session {
	struct shell *sh;
	EditLine *el;
	History *hist;
	struct pending pend;
	char *prompt_text;
	char *history_path;
	bool cancelled; /* the line ended by Ctrl-C */
} se;

static volatile sig_atomic_t winch, cont;

static void on_winch(int sig)
{
	(void)sig;
	winch = 1;
}

static void on_cont(int sig)
{
	(void)sig;
	cont = 1;
}

static void handle_signal(int sig, void (*fn)(int))
{
	struct sigaction sa = {.sa_handler = fn};

	sigaction(sig, &sa, NULL);
}

/* Signals seen since the last key. -1: Ctrl-C, give the line up. */
static int notice_signals(EditLine *el)
{
	if (winch) {
		winch = 0;
		el_resize(el);
	}
	if (cont) {
		cont = 0;
		el_set(el, EL_PREP_TERM, 1);
		el_set(el, EL_REFRESH);
	}
	if (!shell_interrupted)
		return 0;
	se.cancelled = true;
	return -1;
}

/*
 * One byte from the terminal: 1, 0 at the end, -1. ppoll makes "no signal yet, now wait" one step.
 */
static int read_byte(EditLine *el, unsigned char *c)
{
	struct pollfd fd = {.fd = STDIN_FILENO, .events = POLLIN};
	sigset_t block, old;
	ssize_t n;
	int rc;

	sigemptyset(&block);
	sigaddset(&block, SIGINT);
	sigaddset(&block, SIGWINCH);
	sigaddset(&block, SIGCONT);
	sigprocmask(SIG_BLOCK, &block, &old);
	do {
		rc = notice_signals(el);
		if (rc == 0)
			rc = ppoll(&fd, 1, NULL, &old) < 0 && errno != EINTR ? -1 : 0;
	} while (rc == 0 && !fd.revents);
	sigprocmask(SIG_SETMASK, &old, NULL);
	if (rc < 0)
		return -1;
	do
		n = read(STDIN_FILENO, c, 1);
	while (n < 0 && errno == EINTR);
	return (int)n;
}

/* EL_GETCFN: one character, assembled from UTF-8. */
static int read_key(EditLine *el, wchar_t *wc)
{
	unsigned char c;
	char s[4];
	uint32_t cp = 0xFFFD;
	size_t n = 0, need = 1;
	int rc;

	*wc = L'\0';
	do {
		rc = read_byte(el, &c);
		if (rc <= 0)
			return rc;
		s[n++] = (char)c;
		if (n == 1)
			need = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC0 ? 2 : 1;
	} while (n < need);
	utf8_decode(s, n, &cp);
	*wc = (wchar_t)cp;
	return 1;
}

static char *prompt(EditLine *el)
{
	(void)el;
	return se.prompt_text;
}

/* Prompts: '*' says that a transaction is open. \1 brackets what takes no room (EL_PROMPT_ESC). */
static void set_prompt(void)
{
	struct shell *sh = se.sh;
	bool more = shell_is_pending(&se.pend), open = sh->db && !sqlite3_get_autocommit(sh->db);
	bool colour = !sh->no_colour;
	const char *text = more ? "   ...>" : open ? "twzdb*>" : "twzdb>";

	free(se.prompt_text);
	/* An escape at the very end would get lost in libedit: the blank comes after it. */
	se.prompt_text = xasprintf("%s%s%s ", colour ? "\1\033[1m\1" : "", text,
				   colour ? "\1\033[0m\1" : "");
}

static int screen_cols(void)
{
	struct winsize w;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col : 80;
}

static void show_candidates(const struct completion *c)
{
	size_t max = 0;
	int cols, shown = c->cnt < 200 ? c->cnt : 200;

	for (int i = 0; i < shown; i++) {
		size_t w = text_width(c->word[i], strlen(c->word[i]));

		max = w > max ? w : max;
	}
	cols = screen_cols() / (int)(max + 2);
	cols = cols < 1 ? 1 : cols;
	for (int i = 0; i < shown; i++) {
		int room = (int)(max + 2 - text_width(c->word[i], strlen(c->word[i])));

		printf("%s%s%*s", i % cols ? "" : "\n", c->word[i], room, "");
	}
	printf(shown < c->cnt ? "\n(%d of %d)\n" : "\n", shown, c->cnt);
	fflush(stdout);
}

static unsigned char insert_completion(EditLine *el, const struct completion *c, size_t typed)
{
	const char *w = c->word[0];
	char *s = xstrndup(w, c->common);
	bool dir = c->name && c->common && s[c->common - 1] == '/';

	/* Replace what was typed: the candidate may differ in case or need quotes. */
	el_deletestr(el, (int)typed);
	el_insertstr(el, s);
	if (c->cnt == 1 && !dir)
		el_insertstr(el, " ");
	free(s);
	return CC_REFRESH;
}

static unsigned char on_tab(EditLine *el, int ch)
{
	const LineInfo *li = el_line(el);
	size_t len = (size_t)(li->cursor - li->buffer), typed;
	struct completion c;
	unsigned char rc = CC_REFRESH_BEEP;

	(void)ch;
	complete_line(se.sh, li->buffer, len, shell_is_pending(&se.pend), &c);
	typed = len - c.from;
	if (c.cnt == 1 || (c.cnt > 1 && c.common > typed)) {
		rc = insert_completion(el, &c, typed);
	} else if (c.cnt > 1) {
		show_candidates(&c);
		rc = CC_REDISPLAY;
	}
	complete_free(&c);
	return rc;
}

static void history_load(void)
{
	FILE *f = se.history_path ? fopen(se.history_path, "r") : NULL;
	char *line = NULL;
	size_t cap = 0;
	ssize_t len;
	HistEvent ev;

	while (f && (len = getline(&line, &cap, f)) > 0) {
		if (line[len - 1] == '\n')
			line[len - 1] = 0;
		history(se.hist, &ev, H_ENTER, line);
	}
	free(line);
	if (f)
		fclose(f);
}

/*
 * Appended at once: another session, or a kill, loses nothing. A line that begins with a space
 * is not kept.
 */
static void history_add(const char *text)
{
	HistEvent ev;
	FILE *f;

	if (!*text || *text == ' ')
		return;
	if (history(se.hist, &ev, H_FIRST) >= 0 && !strcmp(ev.str, text))
		return;
	history(se.hist, &ev, H_ENTER, text);
	f = se.history_path ? fopen(se.history_path, "a") : NULL;
	if (!f)
		return;
	fprintf(f, "%s\n", text);
	fclose(f);
}

/*
 * Keep the file at the last HISTORY_MAX lines, which are those just loaded: written aside, then
 * renamed.
 */
static void history_trim(void)
{
	char *tmp = se.history_path ? xasprintf("%s.new", se.history_path) : NULL;
	FILE *f = tmp ? fopen(tmp, "w") : NULL;
	HistEvent ev;
	int ok = f != NULL;

	for (int rc = ok ? history(se.hist, &ev, H_LAST) : -1; rc >= 0;
	     rc = history(se.hist, &ev, H_PREV))
		ok = fprintf(f, "%s\n", ev.str) > 0 && ok;
	if (f && fclose(f) == 0 && ok)
		rename(tmp, se.history_path);
	free(tmp);
}

static bool history_is_long(void)
{
	FILE *f = se.history_path ? fopen(se.history_path, "r") : NULL;
	long lines = 0;
	int c;

	while (f && (c = getc(f)) != EOF)
		lines += c == '\n';
	if (f)
		fclose(f);
	return lines > 2 * HISTORY_MAX;
}

static void history_open(void)
{
	const char *env = getenv("TWZDB_HISTORY");
	mode_t old = umask(0077);
	HistEvent ev;

	se.history_path =
		env && *env ? xstrdup(env) : xdg_path("XDG_STATE_HOME", ".local/state", "history");
	se.hist = history_init();
	history(se.hist, &ev, H_SETSIZE, HISTORY_MAX);
	history(se.hist, &ev, H_SETUNIQUE, 1);
	if (se.history_path && make_parents(se.history_path) != 0) {
		free(se.history_path);
		se.history_path = NULL;
	}
	history_load();
	if (history_is_long())
		history_trim();
	umask(old);
}

/*
 * A statement of several lines is remembered as one, unless joining would change it (a comment,
 * a quoted line end).
 */
static bool can_join(const char *line)
{
	size_t quotes = 0;

	for (const char *p = line; *p; p++)
		quotes += *p == '\'' || *p == '"';
	return quotes % 2 == 0 && !strstr(line, "--");
}

struct memory {
	struct buf text;
	bool join;
};

static void remember(struct memory *m, const char *line, bool first)
{
	mode_t old = umask(0077);

	if (first) {
		buf_reset(&m->text);
		m->join = true;
	}
	if (m->join && !first && !can_join(line)) {
		history_add(buf_cstr(&m->text));
		m->join = false;
	} else if (first) {
		m->join = can_join(line);
	}
	if (m->join) {
		if (!first)
			buf_chr(&m->text, ' ');
		buf_str(&m->text, line);
	} else {
		history_add(line);
	}
	umask(old);
}

static void remember_end(struct memory *m)
{
	mode_t old = umask(0077);

	if (m->join)
		history_add(buf_cstr(&m->text));
	buf_reset(&m->text);
	m->join = false;
	umask(old);
}

static void edit_open(struct shell *sh)
{
	se.sh = sh;
	history_open();
	se.el = el_init("twzdb", stdin, stdout, stderr);
	el_set(se.el, EL_PROMPT_ESC, prompt, '\1');
	el_set(se.el, EL_EDITOR, "emacs");
	el_set(se.el, EL_SIGNAL, 0);
	el_set(se.el, EL_HIST, history, se.hist);
	el_set(se.el, EL_GETCFN, read_key);
	/* The wide call: el_set() would leak its copies of the two strings. */
	el_wset(se.el, EL_ADDFN, L"twz-complete", L"complete the word", on_tab);
	el_set(se.el, EL_BIND, "^I", "twz-complete", NULL);
	el_set(se.el, EL_BIND, "^R", "em-inc-search-prev", NULL);
	el_source(se.el, NULL);
	handle_signal(SIGWINCH, on_winch);
	handle_signal(SIGCONT, on_cont);
}

static void edit_close(void)
{
	el_end(se.el);
	history_end(se.hist);
	buf_free(&se.pend.sql);
	free(se.prompt_text);
	free(se.history_path);
	se = (struct session){0};
}

/* Ctrl-C: the first throws away what was typed, one with nothing typed says how to leave. */
static void cancel_line(bool empty)
{
	fputs("^C\n", stdout);
	if (empty && !shell_is_pending(&se.pend))
		fputs("(.quit or Ctrl-D leaves)\n", stdout);
	buf_reset(&se.pend.sql);
	el_reset(se.el);
	se.cancelled = false;
	shell_interrupted = 0;
}

/* One line from the user: 1, 0 to leave, -1 cancelled. *LINE is malloced. */
static int get_line(char **line)
{
	const LineInfo *li;
	const char *s;
	int n = 0;

	set_prompt();
	shell_interrupted = 0;
	/*
	 * Before the prompt shows: a Ctrl-D typed at once must not meet the terminal's own line
	 * mode.
	 */
	el_set(se.el, EL_PREP_TERM, 1);
	s = el_gets(se.el, &n);
	if (se.cancelled) {
		li = el_line(se.el);
		cancel_line(li->lastchar == li->buffer);
		return -1;
	}
	if (!s || n <= 0) {
		fputc('\n', stdout);
		return 0;
	}
	*line = xstrndup(s, s[n - 1] == '\n' ? (size_t)n - 1 : (size_t)n);
	return 1;
}

void line_session(struct shell *sh)
{
	struct memory mem = {0};
	char *line;
	int rc;

	edit_open(sh);
	inspect_banner(sh);
	for (long no = 1; !sh->leave && (rc = get_line(&line)) != 0; no++) {
		if (rc < 0) {
			remember_end(&mem);
			continue;
		}
		remember(&mem, line, !shell_is_pending(&se.pend));
		shell_line(sh, &se.pend, line, strlen(line), no);
		if (!shell_is_pending(&se.pend))
			remember_end(&mem);
		free(line);
	}
	buf_free(&mem.text);
	edit_close();
}
