#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Rules of the house that a compiler does not check. README.md lists them; `lint.py --help` tells how to run them."""

import argparse
import fnmatch
import os
import re
import subprocess
import sys
import tempfile

FOLDERS = ("engine", "twz", "sqlite-vfs", "cli", "kernel-shim", "tests", "bench", "examples")
SELF = "tests/lint/"  # its own examples of what is forbidden are allowed

# Folder -> quoted includes it may use besides its own files (DESIGN: arrows use public headers only).
TWZ_H, DB_H, VFS_H = r"twz/\w+\.h", r"twzdb(_key)?\.h", r"twzvfs\.h"
UAPI_H = r"twz_(ioctl|uapi)\.h"
ARROWS = {
    "twz": (TWZ_H, UAPI_H),
    "engine": (TWZ_H, DB_H),
    "sqlite-vfs": (DB_H, VFS_H, TWZ_H),
    "cli": (DB_H, VFS_H, TWZ_H),
    "bench": (DB_H, VFS_H, TWZ_H),
}

# Words that only the files which implement persistence may use.
FLUSH = re.compile(
    r"\b(_mm_(clflush|clflushopt|clwb|sfence|stream_\w+)|__builtin_ia32_(clwb|clflush\w*|sfence)|"
    r"pmem2_(get_)?(flush|drain|persist|memcpy|memmove|memset)\w*|pmem_\w+)\b|\"\s*(clwb|clflush|clflushopt|sfence|movnt\w*)\b"
)
FLUSH_FILES = re.compile(r"^(twz/src/(persist|backend)\w*\.[ch]|tests/|bench/)")

ENGINE_FORBIDDEN = re.compile(
    r"\b(sqlite3?_\w*|mmap|munmap|msync|fsync|fdatasync|fopen|open|openat|pread|pwrite|ftruncate|fallocate|mkstemp)\s*\(|"
    r"#\s*include\s*<(sys/mman|fcntl|sys/stat|sqlite3)\.h>"
)
LEFTOVER = re.compile(r"\b(TODO|FIXME|XXX|HACK|NOCOMMIT)\b|/root/|/home/\w")

findings = []


def found(where, what):
    findings.append(f"{where}: {what}")


# --- sources ---


class Tree:
    def __init__(self, root):
        self.root = root

    def files(self, *folders, ext=(".c", ".h")):
        for folder in folders or FOLDERS:
            for base, dirs, names in os.walk(os.path.join(self.root, folder)):
                dirs[:] = sorted(d for d in dirs if not d.startswith((".", "build", "__")))
                for n in sorted(names):
                    if n.endswith(ext) and not n.endswith(".mod.c"):
                        yield os.path.relpath(os.path.join(base, n), self.root)

    def text(self, path):
        with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as f:
            return f.read()

    def public_headers(self):
        for folder in ("twz/include", "engine/include", "sqlite-vfs/include"):
            yield from self.files(folder, ext=(".h",))


def blank(m):
    return re.sub(r"[^\n]", " ", m.group(0))


def code_of(text):
    """TEXT with comments blanked; strings stay. Lines keep their numbers."""
    return re.sub(r'("(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\')|/\*.*?\*/|//[^\n]*',
                  lambda m: m.group(1) or blank(m), text, flags=re.S)


def no_strings(code):
    return re.sub(r'"(?:\\.|[^"\\\n])*"', '""', code)


def line_of(text, pos):
    return text.count("\n", 0, pos) + 1


def each_match(tree, paths, regex, transform=lambda t: t):
    for path in paths:
        text = transform(tree.text(path))
        for m in regex.finditer(text):
            yield path, line_of(text, m.start()), m


# --- rules ---


def rule_headers(tree, args):
    """every public header compiles alone, as C11 and as C++17, without warnings"""
    flags = ["-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
    flags += ["-I" + os.path.join(tree.root, d) for d in ("twz/include", "engine/include", "sqlite-vfs/include")]
    for path in tree.public_headers():
        if re.search(r"included by \w+\.h only", tree.text(path)[:400]):
            continue  # says so in its first lines: a part of that other header
        name = path.split("/include/", 1)[1]
        for lang, comp, std in (("c", args.cc, "c11"), ("c++", args.cxx, "c++17")):
            src = f'#include "{name}"\n#include "{name}"\nint lint_{abs(hash(name)) % 1000};\n'
            run = subprocess.run([comp, "-x", lang, "-std=" + std, *flags, "-"], input=src, text=True, capture_output=True)
            if run.returncode:
                found(path, f"does not compile alone as {std}: {run.stderr.strip().splitlines()[0]}")


def exported(lib):
    out = subprocess.run(["nm", "-D", "--defined-only", lib], text=True, capture_output=True, check=True).stdout
    return [l.split()[2].split("@")[0] for l in out.splitlines() if len(l.split()) == 3]


def inline_names(tree):
    """twz__ names that public headers use, so that inline code can reach them."""
    names = set()
    for path in tree.public_headers():
        names |= set(re.findall(r"\btwz__\w+", no_strings(code_of(tree.text(path)))))
    return names


def rule_symbols(tree, args):
    """the shared libraries export twz_ and twzdb_ names only, and twz__ only where a public inline needs it"""
    lib = os.path.join(args.build, "lib")
    inline = inline_names(tree)
    for name, prefix in (("libtwz.so", "twz_"), ("libtwzdb.so", "twzdb_")):
        path = os.path.join(lib, name)
        if not os.path.exists(path):
            found(name, f"not built in {lib}")
            continue
        for sym in exported(path):
            if re.match(r"(_init|_fini|__(asan|ubsan|tsan|gcov|llvm|sanitizer|odr)\w*|__bss_start|_edata|_end)$", sym):
                continue
            if not sym.startswith(prefix) or (sym.startswith("twz__") and sym not in inline):
                found(name, f"exports {sym}")


def own_files(tree, top):
    names = set()
    for path in tree.files(top):
        parts = path.split("/")
        for i in range(1, len(parts)):
            names.add("/".join(parts[i:]))
    return names


def rule_layers(tree, args):
    """arrows point down and use public headers only; twz never names the engine; the engine names no file call and no SQLite"""
    include = re.compile(r'^[ \t]*#\s*include\s*"([^"]+)"', re.M)
    for top, allowed in ARROWS.items():
        mine = own_files(tree, top)
        for path, line, m in each_match(tree, tree.files(top), include, code_of):
            name = m.group(1)
            base = os.path.basename(name)
            if name in mine or base in {os.path.basename(x) for x in mine} and "/" not in name:
                continue
            if not any(re.fullmatch(a, name) for a in allowed):
                found(f"{path}:{line}", f'{top} may not include "{name}"')
    for path, line, m in each_match(tree, tree.files("engine"), ENGINE_FORBIDDEN, lambda t: no_strings(code_of(t))):
        found(f"{path}:{line}", f"the engine may not use {m.group(0).strip(' (')}")
    for path, line, m in each_match(tree, tree.files("engine"), re.compile(r"sqlite", re.I)):
        found(f"{path}:{line}", "the engine does not know SQLite, not even in a comment")
    names = re.compile(r'\btwzdb_\w+|#\s*include\s*[<"]twzdb')
    for path, line, m in each_match(tree, tree.files("twz"), names, code_of):
        found(f"{path}:{line}", f"twz may not name the engine ({m.group(0)})")


def rule_freestanding(tree, args):
    """twz/core includes nothing of libc but the fixed-width types, and calls nothing but its ops"""
    ok = re.compile(r"linux/[\w/]+\.h|std(int|def|bool)\.h")
    for path, line, m in each_match(tree, tree.files("twz/core"), re.compile(r"^[ \t]*#\s*include\s*<([^>]+)>", re.M)):
        if not ok.fullmatch(m.group(1)):
            found(f"{path}:{line}", f"core may not include <{m.group(1)}>")
    objs = [o for o in tree_objects(args.build, "/core/") if o.endswith(".o")]
    for obj in objs:
        out = subprocess.run(["nm", "-u", obj], text=True, capture_output=True, check=True).stdout
        for sym in re.findall(r"\bU (\w+)", out):
            # The compiler itself may call the mem functions; sanitizers and coverage add their own.
            if not re.match(r"twzc_|mem(cpy|set|move|cmp)$|_GLOBAL_OFFSET_TABLE_|__(stack_chk|asan|ubsan|tsan|gcov|llvm|sanitizer|sancov)",
                            sym):
                found(os.path.basename(obj), f"core calls {sym}")


def tree_objects(build, part):
    for base, _, names in os.walk(os.path.join(build, "twz")):
        for n in names:
            path = os.path.join(base, n)
            if part in path:
                yield path


def rule_flush(tree, args):
    """only twz/src/persist* and backend* contain flush instructions or libpmem2's persist calls"""
    paths = [p for p in tree.files() if not FLUSH_FILES.match(p)]
    for path, line, m in each_match(tree, paths, FLUSH, code_of):
        found(f"{path}:{line}", f"{m.group(0)} belongs into twz/src/persist or backend files")


def rule_simd(tree, args):
    """only files named simd_* (and what rule flush exempts) name processor instructions"""
    what = re.compile(r"\b(_mm\d*_\w+|__m\d{3}\w*|__builtin_ia32_\w+|vld1\w*|vc(lt|eq)q_\w+)|<(\w*intrin|arm_neon)\.h>")
    paths = [p for p in tree.files() if not FLUSH_FILES.match(p) and not re.search(r"/simd_\w+\.c$", p)]
    for path, line, m in each_match(tree, paths, what, code_of):
        found(f"{path}:{line}", f"{m.group(0)} belongs into a simd_*.c file, beside a variant without it")


STRUCT = re.compile(r"^struct\s+(\w+_pm)\s*\{(.*?)^\}", re.M | re.S)


def table_above(text, pos):
    """The comment that ends right before POS (#defines and blank lines may stand between), or ''."""
    head = text[:pos].rstrip()
    while True:
        last = head.rsplit("\n", 1)[-1]
        if not last.startswith("#define"):
            break
        head = head[: len(head) - len(last)].rstrip()
    return head[head.rfind("/*"):] if head.endswith("*/") else ""


def rule_media(tree, args):
    """media structs (_pm) live in format*.h only, under an OFFSET table, pinned by asserts, of fixed-width fields"""
    for path in tree.files():
        if path.startswith(SELF):
            continue
        text = tree.text(path)
        code = code_of(text)
        if "__attribute__((packed))" in code:
            found(path, "packed structs are not used: spell the padding out")
        for m in STRUCT.finditer(code):
            name, where = m.group(1), f"{path}:{line_of(code, m.start())}"
            if not re.match(r"format\w*\.h$", os.path.basename(path)):
                found(where, f"struct {name}: media structs live in format*.h")
                continue
            if "not on media" in table_above(text, m.start()):
                continue  # shared memory of one boot, as the comment says
            if not re.search(r"OFFSET\s+SIZE\s+MEANING", table_above(text, m.start())):
                found(where, f"struct {name} has no OFFSET SIZE MEANING table directly above")
            if not re.search(rf"(?i)assert\w*\(\s*sizeof\(struct {name}\)\s*==", code):
                found(where, f"struct {name}: no static assert of its size")
            elif not re.search(rf"(?i)assert\w*\(\s*offsetof\(struct {name},", code):
                found(where, f"struct {name}: no static assert of an offset")
            bad = re.search(r"\*\s*\w+\s*;|\b(bool|size_t|unsigned|long|short|int|char\s*\*|enum|pthread_\w+)\b", m.group(2))
            if bad:
                found(where, f"struct {name}: '{bad.group(0).strip()}' is no fixed-width media type")


def rule_readme(tree, args):
    """every folder explains itself"""
    want = [f for f in FOLDERS if os.path.isdir(os.path.join(tree.root, f))] + ["."]
    for sub in ("tests", "twz"):
        base = os.path.join(tree.root, sub)
        for d in sorted(os.listdir(base)) if os.path.isdir(base) else ():
            if os.path.isdir(os.path.join(base, d)) and d not in ("include", "src") and not d.startswith(("build", "__", ".")):
                want.append(f"{sub}/{d}")
    for folder in want:
        path = os.path.join(tree.root, folder, "README.md")
        if not os.path.exists(path):
            found(folder, "has no README.md")
        elif os.path.getsize(path) < 200:
            found(folder + "/README.md", "explains nothing yet")


def rule_leftovers(tree, args):
    """nothing unfinished and no path of somebody's machine is left behind"""
    ext = (".c", ".h", ".md", ".txt", ".cmake", ".sh", ".py", ".yml", "Makefile", "Kbuild")
    paths = [p for p in tree.files(*FOLDERS, "docs", ".github", ".ci", ext=ext) if not p.startswith(SELF)]
    paths += [p for p in ("README.md", "CMakeLists.txt", "dev", ".ci/run") if os.path.isfile(os.path.join(tree.root, p))]
    for path, line, m in each_match(tree, paths, LEFTOVER):
        found(f"{path}:{line}", f"'{m.group(0)}' must not stay")


def rule_spdx(tree, args):
    """every source names its licence in its first lines"""
    for path in tree.files(ext=(".c", ".h", ".cpp", ".py", ".sh")):
        m = re.search(r"SPDX-License-Identifier: ([^*\n]+)", "\n".join(tree.text(path).splitlines()[:4]))
        got = {re.sub(r"-only| WITH .*", "", x.strip("() ")) for x in m.group(1).split(" OR ")} if m else set()
        want = {"MIT", "GPL-2.0"} if path.startswith(("twz/core/", "kernel-shim/")) else {"MIT"}
        if got != want:
            found(path, f"the first lines must say SPDX-License-Identifier: {' OR '.join(sorted(want, reverse=True))}")


def rule_length(tree, args):
    """no function over 80 lines, no file over 1000 (tests, lists of cases: 1200)"""
    for path in tree.files():
        lines = code_of(tree.text(path)).split("\n")
        if len(lines) - 1 > (1200 if path.startswith("tests/") else 1000):
            found(path, f"{len(lines) - 1} lines: split it")
        start = None
        for i, l in enumerate(lines, 1):
            if l == "{":
                start = i
            elif l.startswith("}") and start:
                if i - start > 81:
                    found(f"{path}:{start}", f"function of {i - start - 1} lines")
                start = None


def tests_of(build):
    """Names of all tests ctest knows."""
    names = set()
    for base, dirs, files in os.walk(build):
        dirs[:] = [d for d in dirs if d != "CMakeFiles"]
        if "CTestTestfile.cmake" in files:
            with open(os.path.join(base, "CTestTestfile.cmake"), encoding="utf-8") as f:
                names |= set(re.findall(r"^add_test\((?:\[=*\[)?([^\s\]]+)", f.read(), re.M))
    return names


def rule_promises(tree, args):
    """each promise names a test, and there is that test"""
    path = "docs/promises.md"
    known = tests_of(args.build)
    for p in tree.files("tests/crash", ext=(".c",)):
        if os.path.basename(p).startswith("workloads"):
            known |= set(re.findall(r'\.name = "([a-z]+\.\w+)"', tree.text(p)))
            # a macro makes those of one file: "sql." id
            known |= {m + n for m in re.findall(r'\.name = "([a-z]+\.)" id', tree.text(p)) for n in re.findall(r'_WL\(\w+, "(\w+)"', tree.text(p))}
            known |= set(re.findall(r'_WL\(\w+, "([a-z]+\.\w+)"', tree.text(p)))
    for no, text in enumerate(tree.text(path).splitlines(), 1):
        row = re.match(r"\|\s*\d+\s*\|", text) and text.rstrip("| ").split(" | ")
        if row and not re.search(r"`\w+\.[\w.*]+`|\bas \d", row[-1]):
            found(f"{path}:{no}", "names no test")
        for name in re.findall(r"`((?:[a-z_]+|\*)\.[a-z0-9_.*-]+)`", text):
            if not fnmatch.filter(known, name):
                found(f"{path}:{no}", f"there is no test, and no crash workload, {name}")


RULES = {n[5:]: f for n, f in list(globals().items()) if n.startswith("rule_")}


# --- self test: every rule must be able to fail ---

BAD = {
    "headers": {"twz/include/twz/bad.h": "struct twz_bad { no_such_type x; };\n"},
    "layers": {
        "engine/src/a.c": '#include "internal.h"\n#include "twz/obj.h"\nvoid f(void) { mmap(0); }\n/* SQLite */\n',
        "twz/src/internal.h": "int twzdb_open(void);\n",
    },
    "freestanding": {"twz/core/a.c": "#include <stdlib.h>\n"},
    "flush": {"engine/src/a.c": "void f(void) { _mm_clwb(0); }\n"},
    "simd": {"engine/src/a.c": "#include <immintrin.h>\n", "engine/src/simd_x.c": "#include <immintrin.h>\n"},
    "media": {
        "twz/src/a.c": "struct x_pm {\n\tint a;\n};\n",
        "twz/src/format_c.h": "/* OFFSET SIZE MEANING */\nstruct c_pm {\n\tuint64_t a;\n};\n"
                              "_Static_assert(sizeof(struct c_pm) == 8, \"\");\n",
        "twz/src/format_b.h": "/* no table */\nstruct b_pm {\n\tuint64_t a;\n\tchar *p;\n};\n",
    },
    "readme": {"twz/core/x.c": ""},
    "leftovers": {"twz/src/a.c": "/* TO" + "DO later */\n"},
    "spdx": {"twz/src/a.c": "int x;\n"},
    "promises": {
        "CTestTestfile.cmake": "add_test([=[unit.a]=] \"x\")\nadd_test(unit.b \"x\")\n",
        "tests/crash/workloads_x.c": 'w = {.name = "core.x"};\n',
        "docs/promises.md": "| 1 | a | `unit.a`, `unit.*`, `core.x` |\n| 2 | a | `unit.c` |\n| 3 | a | none |\n| 4 | a | as 1 |\n| 5 | `*.again` | `unit.b` |\n",
    },
    "length": {"twz/src/a.c": "void f(void)\n{\n" + "\tx();\n" * 90 + "}\n"},
}
# Rules that look at built files: what to compile before they look.
BUILT = {
    "symbols": (("lib/libtwz.so", "int twz_ok, twz__hidden, stray;", ("-shared", "-fPIC")),
                ("lib/libtwzdb.so", "int twzdb_ok, twz_not_mine;", ("-shared", "-fPIC"))),
    "freestanding": (("twz/core/a.o", "void *malloc(unsigned long n); void *twzc_x(void) { return malloc(1); }", ("-c",)),),
}
WANT = {"headers": 2, "symbols": 3, "freestanding": 2, "layers": 4, "media": 5, "readme": 3, "promises": 3}


def sample(rule, args, root):
    """A tree that breaks RULE."""
    for path, text in BAD.get(rule, {}).items():
        os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
        with open(os.path.join(root, path), "w", encoding="utf-8") as f:
            f.write(text)
    for path, text, flags in BUILT.get(rule, ()):
        out = os.path.join(root, path)
        os.makedirs(os.path.dirname(out), exist_ok=True)
        subprocess.run([args.cc, "-x", "c", *flags, "-o", out, "-"], input=text, text=True, check=True)


def selftest(args):
    failed = 0
    for rule, check in RULES.items():
        with tempfile.TemporaryDirectory() as root:
            sample(rule, args, root)
            findings.clear()
            args.build = root
            check(Tree(root), args)
        ok = len(findings) == WANT.get(rule, 1)
        failed += not ok
        print(f"{'ok' if ok else 'FAILED'}: {rule} finds {len(findings)} of {WANT.get(rule, 1)}")
        if not ok:
            print("\n".join(findings))
    return 1 if failed else 0


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("rules", nargs="*", help="default: all of " + " ".join(RULES))
    p.add_argument("--root", default=os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    p.add_argument("--build", default="build")
    p.add_argument("--cc", default="cc")
    p.add_argument("--cxx", default="c++")
    p.add_argument("--selftest", action="store_true")
    args = p.parse_args()
    if args.selftest:
        return selftest(args)
    tree = Tree(args.root)
    for rule in args.rules or RULES:
        if rule not in RULES:
            p.error(f"no rule '{rule}': choose from {' '.join(RULES)}")
        RULES[rule](tree, args)
    print("\n".join(findings) if findings else f"lint: {len(args.rules or RULES)} rules kept")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
