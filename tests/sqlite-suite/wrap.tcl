# SPDX-License-Identifier: MIT
# wrap.tcl TEST_FILE -- run one file of SQLite's test suite on the VFS "twz"
#
# Tests look at the bytes of a database with Tcl's own commands. Those bytes are in a store, so the
# commands are taught to reach them there, through the VFS (twz_bytes in init.c). Nothing else of
# the suite is changed (README.md, "What is adapted").
set argv0 [lindex $argv 0]
set argv [lrange $argv 1 end]
load {} Twzsuite

# No shared memory, no WAL mode: the suite's own switch for builds without it.
if {[lsearch [split $env(TWZ_SUITE_SWITCH) ,] wal] < 0} { array set sqlite_options {wal 0} }

namespace eval suite {
	variable image ;# channel -> {store, plain copy, bytes at opening}
	variable n 0

	proc is_store {path} {
		if {[catch {
			if {[real_file type $path] ne "file"} { error no }
			set c [real_open $path rb]
			set magic [read $c 8]
			real_close $c
		}]} { return 0 }
		return [expr {$magic eq "TWZSTORE"}]
	}

	proc dump {path} {
		twz_bytes read $path 0 [twz_bytes size $path]
	}

	# What changed goes back, in pieces of 512 bytes.
	proc put {path old new} {
		set n [string length $new]
		if {$n < [string length $old]} { twz_bytes truncate $path $n }
		for {set i 0} {$i < $n} {incr i 512} {
			set piece [string range $new $i $i+511]
			if {$piece ne [string range $old $i $i+511]} { twz_bytes write $path $i $piece }
		}
	}

	proc import {path} {
		if {![string match *.db* [file tail $path]] || [catch {slurp $path} data]} { return }
		if {[string length $data] == 0 || [string length $data] % 512} { return }
		real_file delete $path
		twz_bytes write $path 0 $data
	}

	proc slurp {path} {
		set c [real_open $path rb]
		set data [read $c]
		real_close $c
		return $data
	}
}

rename file real_file
proc file {op args} {
	if {$op eq "size" && [suite::is_store [lindex $args 0]]} {
		return [twz_bytes size [lindex $args 0]]
	}
	uplevel 1 [list real_file $op {*}$args]
}

# A channel on a store is one on a copy of its bytes; closing it writes the changes back.
rename open real_open
proc open {path {mode r} args} {
	if {[string match w* $mode]} {
		# A whole database written by a test becomes a store when it is closed.
		set c [uplevel 1 [list real_open $path $mode {*}$args]]
		if {![string match {|*} $path]} { set suite::fresh($c) [real_file normalize $path] }
		return $c
	}
	if {![suite::is_store $path]} {
		return [uplevel 1 [list real_open $path $mode {*}$args]]
	}
	set old [suite::dump $path]
	set copy [real_file normalize .suite-image-[incr suite::n]]
	set c [real_open $copy wb]
	puts -nonewline $c $old
	real_close $c
	set c [real_open $copy $mode {*}$args]
	set suite::image($c) [list [real_file normalize $path] $copy $old]
	return $c
}

rename close real_close
proc close {c args} {
	real_close $c {*}$args
	if {[info exists suite::image($c)]} {
		lassign $suite::image($c) path copy old
		unset suite::image($c)
		suite::put $path $old [suite::slurp $copy]
		real_file delete $copy
	}
	if {[info exists suite::fresh($c)]} {
		suite::import $suite::fresh($c)
		unset suite::fresh($c)
	}
}

rename hexio_read real_hexio_read
proc hexio_read {path off n} {
	if {![suite::is_store $path]} { return [real_hexio_read $path $off $n] }
	binary scan [twz_bytes read $path $off $n] H* hex
	return [string toupper $hex]
}

# With a handle that is none the test program itself would crash.
rename sqlite3_db_readonly real_db_readonly
proc sqlite3_db_readonly {db name} {
	if {![llength [info commands $db]]} { error "no database handle $db" }
	uplevel 1 [list real_db_readonly $db $name]
}

rename md5file real_md5file
proc md5file {path args} {
	if {![suite::is_store $path]} { return [real_md5file $path {*}$args] }
	set copy .suite-image-[incr suite::n]
	set c [real_open $copy wb]
	puts -nonewline $c [suite::dump $path]
	real_close $c
	set sum [real_md5file $copy {*}$args]
	real_file delete $copy
	return $sum
}

rename hexio_write real_hexio_write
proc hexio_write {path off hex} {
	# A journal that is not there cannot be damaged; the test goes on.
	if {[string match *-journal $path] && ![real_file exists $path]} { return 0 }
	if {![suite::is_store $path]} { return [real_hexio_write $path $off $hex] }
	set data [binary format H* $hex]
	twz_bytes write $path $off $data
	return [string length $data]
}

# Files that wait for, or are about, a journal on disk say so themselves: they ask atomic_batch_write,
# which is 1 where commits are atomic without one. Only those named in switches.txt are told.
if {[lsearch [split $env(TWZ_SUITE_SWITCH) ,] atomic_batch_write] >= 0} {
	proc atomic_batch_write {path} { return 1 }
}
if {[lsearch [split $env(TWZ_SUITE_SWITCH) ,] inmemory_journal] >= 0} {
	set G(perm:name) inmemory_journal
}

source $argv0
