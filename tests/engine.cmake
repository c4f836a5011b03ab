# The engine: named cases, and engine_model, which is random and long (label model).
foreach(t engine_node engine_api engine_snap engine_kill engine_lock engine_single engine_scan engine_hostile engine_damage
	  engine_reader engine_readonly engine_simd engine_accel engine_bulk engine_load engine_long engine_give
	  engine_space engine_rules engine_keys engine_kinds engine_tables engine_input engine_savepoint engine_lazy engine_lost engine_stopped engine_held engine_gone engine_group engine_group_kill engine_backup engine_compact engine_listen engine_nomem engine_keep engine_ranges)
	twz_unit_test(${t} twzdb_static)
endforeach()
twz_nomem(test_engine_nomem)
set_tests_properties(unit.engine_nomem PROPERTIES ENVIRONMENT "TMPDIR=/dev/shm") # as unit.nomem
target_link_options(test_engine_keep PRIVATE -Wl,--wrap=pwritev2) # the medium, held and failing
if(TWZ_SANITIZE STREQUAL "thread") # single-steps a process through a commit: minutes when every access is watched
	set_tests_properties(unit.engine_kill unit.engine_group_kill PROPERTIES DISABLED TRUE)
	set_tests_properties(unit.engine_held unit.engine_stopped PROPERTIES DISABLED TRUE) # no lock with a time limit is known there
endif()
foreach(t engine_node engine_lock engine_single engine_damage engine_space engine_savepoint engine_kinds engine_reader engine_simd engine_accel engine_bulk engine_load engine_long engine_give engine_lazy engine_lost engine_stopped engine_held engine_group engine_group_kill engine_backup engine_compact engine_listen engine_keep engine_ranges) # they look into the engine
	target_link_libraries(test_${t} PRIVATE PkgConfig::XXHASH)
endforeach()
foreach(t engine_model engine_threads)
	add_executable(test_${t} model/test_${t}.c)
	target_link_libraries(test_${t} PRIVATE twz_t twzdb_static)
	set_target_properties(test_${t} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
	add_test(NAME model.${t} COMMAND test_${t})
	set_tests_properties(model.${t} PROPERTIES LABELS model TIMEOUT 300)
endforeach()
