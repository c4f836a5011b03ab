# What is installed, used by the programs of examples/: tests/examples/README.md. Not under a sanitizer, whose run-time they have not.
if(TWZ_SANITIZE)
	return()
endif()
add_test(NAME examples.install COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/examples/install.sh ${CMAKE_BINARY_DIR})
set_tests_properties(examples.install PROPERTIES LABELS "examples;quick" TIMEOUT 120 FIXTURES_SETUP installed)
foreach(e list kv listen sqlite-static sqlite-extension sqlite-shell python better-sqlite3)
	add_test(NAME examples.${e} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/examples/run.sh ${CMAKE_BINARY_DIR} ${e})
	set_tests_properties(examples.${e} PROPERTIES LABELS "examples;quick" TIMEOUT 120 SKIP_RETURN_CODE 77 FIXTURES_REQUIRED installed)
endforeach()
# The first time it compiles an SQLite of its own.
set_tests_properties(examples.better-sqlite3 PROPERTIES LABELS examples TIMEOUT 900)
