#!/bin/sh
# SPDX-License-Identifier: MIT
# quick.sh BUILD_DIR -- a tenth of SQLite's suite, for every run of the tests
set -eu
here=$(dirname "$0")
"$here/prepare.sh" "$1"
exec "$here/run.py" --build "$1/sqlite-suite" --quick
