# Label tsan, only in the tsan preset (`./dev test tsan` builds it and runs this): what shares memory between threads, and nothing that
# is the same again. The other tests can be run there too: ctest --test-dir build-tsan.
if(NOT TWZ_SANITIZE STREQUAL "thread")
	return()
endif()

# The log: batches, checkpoints without the lock. The engine: readers beside writers, staged and lazy commits, helpers, transactions over
# several databases, notices. The library below: opening, objects, undo transactions, names.
set(tsan_tests log log_group log_stopped log_blocks log_gather
	engine_lazy engine_snap engine_group engine_single engine_savepoint engine_listen engine_gone engine_scan engine_keep
	engine_reader engine_lock engine_bulk engine_accel engine_backup engine_compact engine_load
	store obj tx name)
set(tsan_models engine_threads engine_model)

add_custom_target(tsan_tests)
foreach(t ${tsan_tests})
	add_dependencies(tsan_tests test_${t})
	set_property(TEST unit.${t} APPEND PROPERTY LABELS tsan)
endforeach()
foreach(t ${tsan_models})
	add_dependencies(tsan_tests test_${t})
	set_property(TEST model.${t} APPEND PROPERTY LABELS tsan)
endforeach()
get_property(all DIRECTORY PROPERTY TESTS)
set_property(TEST ${all} APPEND PROPERTY ENVIRONMENT "TSAN_OPTIONS=suppressions=${CMAKE_CURRENT_SOURCE_DIR}/tsan.supp")
# Five to twenty times as slow: their time limits are for hangs.
foreach(t ${tsan_tests})
	set_tests_properties(unit.${t} PROPERTIES TIMEOUT 900)
endforeach()
foreach(t ${tsan_models})
	set_tests_properties(model.${t} PROPERTIES TIMEOUT 900)
endforeach()
