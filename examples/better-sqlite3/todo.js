// SPDX-License-Identifier: MIT
// todo.js -- a Node.js program on a store; better-sqlite3 brings an SQLite of its own, newer than the distribution's
//
//	node todo.js EXTENSION STORE [WHAT]	add something to do; print all
'use strict';
const Database = require('better-sqlite3');
const [extension, store, what] = process.argv.slice(2);

if (!store) {
	console.error('usage: node todo.js EXTENSION STORE [WHAT]');
	process.exit(2);
}

// Its paths are no URIs, so they cannot say vfs=twz: this entry point makes it the default.
const loader = new Database(':memory:');
loader.loadExtension(extension, 'sqlite3_twzdefault_init');
loader.close();

const db = new Database(store);
db.exec('create table if not exists todo(id integer primary key, what text not null)');
if (what)
	db.prepare('insert into todo(what) values(?)').run(what);
for (const row of db.prepare('select * from todo order by id').iterate())
	console.log(`${row.id} ${row.what}`);

// All or nothing, as ever.
try {
	db.transaction(() => {
		db.prepare('delete from todo').run();
		db.prepare('insert into todo(what) values(null)').run();
	})();
} catch (e) {
	console.log(`refused: ${e.code}, ${db.prepare('select count(*) from todo').pluck().get()} left`);
}
console.log(`SQLite ${db.prepare('select sqlite_version()').pluck().get()}, ${db.pragma('integrity_check', { simple: true })}`);
db.close();
