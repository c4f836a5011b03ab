# SQLite on the engine, label sqlite
add_executable(test_vfs sqlite/test_vfs.c)
target_link_libraries(test_vfs PRIVATE twz_t twzvfs_static)
set_target_properties(test_vfs PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
add_test(NAME sqlite.vfs.page COMMAND test_vfs)
add_test(NAME sqlite.vfs.line COMMAND test_vfs)
set_tests_properties(sqlite.vfs.page PROPERTIES LABELS sqlite TIMEOUT 180)
set_tests_properties(sqlite.vfs.line PROPERTIES LABELS "sqlite;quick" TIMEOUT 180
	ENVIRONMENT "PMEM2_FORCE_GRANULARITY=CACHE_LINE;TMPDIR=/dev/shm")

foreach(t use open nomem)
	add_executable(test_vfs_${t} sqlite/test_vfs_${t}.c)
	target_link_libraries(test_vfs_${t} PRIVATE twz_t twzvfs_static)
	set_target_properties(test_vfs_${t} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
	add_test(NAME sqlite.${t} COMMAND test_vfs_${t})
	set_tests_properties(sqlite.${t} PROPERTIES LABELS "sqlite;quick" TIMEOUT 60)
endforeach()

twz_nomem(test_vfs_nomem)
foreach(f malloc64 realloc64 mprintf)
	target_link_options(test_vfs_nomem PRIVATE -Wl,--wrap=sqlite3_${f})
endforeach()
set_tests_properties(sqlite.nomem PROPERTIES LABELS sqlite ENVIRONMENT "TMPDIR=/dev/shm") # hundreds of openings: no disk need wait for them

# Connections that commit at the same time, on a medium that is held, or fails
add_executable(test_vfs_commit sqlite/test_vfs_commit.c)
target_link_libraries(test_vfs_commit PRIVATE twz_t twzvfs_static)
target_link_options(test_vfs_commit PRIVATE -Wl,--wrap=pwritev2)
set_target_properties(test_vfs_commit PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
add_test(NAME sqlite.vfs_commit COMMAND test_vfs_commit)
set_tests_properties(sqlite.vfs_commit PROPERTIES LABELS "sqlite;quick" TIMEOUT 60)

# Attached databases, and processes that are killed: on both media
add_executable(test_vfs_group sqlite/test_vfs_group.c)
target_link_libraries(test_vfs_group PRIVATE twz_t twzvfs_static)
set_target_properties(test_vfs_group PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
add_test(NAME sqlite.group.page COMMAND test_vfs_group)
add_test(NAME sqlite.group.line COMMAND test_vfs_group)
set_tests_properties(sqlite.group.page PROPERTIES LABELS sqlite TIMEOUT 120)
set_tests_properties(sqlite.group.line PROPERTIES LABELS sqlite TIMEOUT 120
	ENVIRONMENT "PMEM2_FORCE_GRANULARITY=CACHE_LINE;TMPDIR=/dev/shm")

# Native tables: the same statements on one and on an ordinary table of SQLite's own
add_executable(test_native_diff sqlite/test_native_diff.c)
target_link_libraries(test_native_diff PRIVATE twz_t twzvfs_static)
set_target_properties(test_native_diff PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
add_test(NAME sqlite.native_diff COMMAND test_native_diff)
set_tests_properties(sqlite.native_diff PROPERTIES LABELS sqlite TIMEOUT 180)

# The VFS and SQLite's own beside each other, one connection each, and killed; long: UNITS=100000 KILLS=100000 build/tests/test_vfs_diff
add_executable(test_vfs_diff sqlite/test_vfs_diff.c)
target_link_libraries(test_vfs_diff PRIVATE twz_t twzvfs_static)
set_target_properties(test_vfs_diff PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
add_test(NAME sqlite.vfs_diff.page COMMAND test_vfs_diff)
add_test(NAME sqlite.vfs_diff.line COMMAND test_vfs_diff)
set_tests_properties(sqlite.vfs_diff.page PROPERTIES LABELS sqlite TIMEOUT 180)
set_tests_properties(sqlite.vfs_diff.line PROPERTIES LABELS sqlite TIMEOUT 180 ENVIRONMENT "PMEM2_FORCE_GRANULARITY=CACHE_LINE")

# Processes on one database, some killed; long: SECONDS=3600 PROCS=16 build/tests/test_vfs_stress
add_executable(test_vfs_stress sqlite/test_vfs_stress.c)
target_link_libraries(test_vfs_stress PRIVATE twz_t twzvfs_static)
set_target_properties(test_vfs_stress PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
add_test(NAME sqlite.vfs_stress.page COMMAND test_vfs_stress)
add_test(NAME sqlite.vfs_stress.line COMMAND test_vfs_stress)
set_tests_properties(sqlite.vfs_stress.page PROPERTIES LABELS sqlite TIMEOUT 180)
set_tests_properties(sqlite.vfs_stress.line PROPERTIES LABELS sqlite TIMEOUT 180 ENVIRONMENT "PMEM2_FORCE_GRANULARITY=CACHE_LINE")

foreach(t native native_kv)
	add_executable(test_${t} sqlite/test_${t}.c)
	target_link_libraries(test_${t} PRIVATE twz_t twzvfs_static)
	set_target_properties(test_${t} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
	add_test(NAME sqlite.${t} COMMAND test_${t})
	set_tests_properties(sqlite.${t} PROPERTIES LABELS "sqlite;quick" TIMEOUT 120)
endforeach()
foreach(t native native_kv native_diff) # stores made by those lie in shared memory: here without a page cache between
	add_test(NAME sqlite.${t}.line COMMAND test_${t})
	set_tests_properties(sqlite.${t}.line PROPERTIES LABELS sqlite TIMEOUT 180 ENVIRONMENT "PMEM2_FORCE_GRANULARITY=CACHE_LINE")
endforeach()

# The extension inside the stock sqlite3 shell and Python (which are not built with a sanitizer's run-time).
if(NOT TWZ_SANITIZE)
	add_test(NAME sqlite.extension COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/sqlite/extension.sh $<TARGET_FILE:twzvfs_ext>)
	set_tests_properties(sqlite.extension PROPERTIES LABELS "sqlite;quick" TIMEOUT 60)
endif()

# A tenth of SQLite's own suite; skipped (77) where its source cannot be had. All of it: ./dev test sqlite-suite
if(NOT TWZ_SANITIZE)
	add_test(NAME sqlite.suite COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/sqlite-suite/quick.sh ${CMAKE_BINARY_DIR})
	set_tests_properties(sqlite.suite PROPERTIES LABELS sqlite TIMEOUT 300 SKIP_RETURN_CODE 77 PROCESSORS 2)
endif()
