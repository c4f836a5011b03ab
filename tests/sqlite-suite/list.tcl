# SPDX-License-Identifier: MIT
# list.tcl TEST_DIR -- print the files of SQLite's "veryquick" permutation, one a line
set testdir [lindex $argv 0]
set argv0 [file join $testdir list.tcl]
set argv {}
source $testdir/permutations.test
array set spec $::testspec(veryquick)
foreach f $spec(-files) { puts [file tail $f] }
exit 0
