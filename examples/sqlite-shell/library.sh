#!/bin/sh
# SPDX-License-Identifier: MIT
# library.sh EXTENSION STORE -- the distribution's sqlite3 shell on a store
set -eu
ext=$1
store=$2

sqlite3 :memory: ".load $ext" ".open file:$store?vfs=twz" \
	"create table book(id integer primary key, title text, year int);" \
	"insert into book(title, year) values('The Art of Computer Programming', 1968), ('Structure and Interpretation', 1985);"

# Another database in the same file.
sqlite3 :memory: ".load $ext" ".open file:$store?vfs=twz&db=loans" \
	"create table loan(book int, who text);" "insert into loan values(2, 'ann');"

sqlite3 -box :memory: ".load $ext" ".open file:$store?vfs=twz&mode=ro" \
	"attach 'file:$store?vfs=twz&db=loans&mode=ro' as loans;" \
	"select title, who from book left join loan on loan.book = book.id order by year;"

# A plain database becomes a store, and back.
sqlite3 "$store.plain" "create table t(x); insert into t values(1), (2), (3);"
sqlite3 "$store.plain" ".load $ext" "vacuum into 'file:$store.imported?vfs=twz';"
sqlite3 :memory: ".load $ext" ".open file:$store.imported?vfs=twz" "select sum(x) from t;" \
	".backup main $store.back" 
sqlite3 "$store.back" "select count(*) from t;"
