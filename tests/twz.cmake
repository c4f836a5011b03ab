# tests of this area: see CMakeLists.txt

# twz_log
foreach(t log log_crash log_group log_stopped log_blocks log_gather)
	twz_unit_test(${t} twz_static)
	target_sources(test_${t} PRIVATE unit/log_env.c)
endforeach()
foreach(t log_group log_stopped log_blocks log_gather)
	target_sources(test_${t} PRIVATE unit/log_world.c)
endforeach()

# twz/core alone, over an image in memory (unit/core_image.h): no file, no mapping, no lock.
set(core_sources ${TWZ_ALL_SOURCES})
list(FILTER core_sources INCLUDE REGEX "/twz/core/")
add_library(twz_core_t STATIC unit/core_image.c unit/core_scene.c ${core_sources})
target_link_libraries(twz_core_t PUBLIC twz_t PkgConfig::XXHASH)
foreach(t core_basic core_crash core_fault core_corrupt)
	twz_unit_test(${t} twz_core_t)
endforeach()

# persistent pointers and FOTs
foreach(t ptr fot)
	twz_unit_test(${t} twz_static)
endforeach()

# undo transactions, arenas, names
foreach(t tx tx_crash alloc name nomem)
	twz_unit_test(${t} twz_static)
	target_sources(test_${t} PRIVATE unit/rt_env.c)
endforeach()

twz_nomem(test_nomem)
set_tests_properties(unit.nomem PROPERTIES ENVIRONMENT "TMPDIR=/dev/shm") # hundreds of openings: no disk need wait for them

# libtwz runtime: stores, objects, the companion, bad input (tests/unit/rt_env.h: both media, files, processes)
foreach(t store readonly obj companion badinput persist dump file_sync)
	twz_unit_test(${t} twz_static)
	target_sources(test_${t} PRIVATE unit/rt_env.c)
endforeach()
target_link_options(test_badinput PRIVATE -Wl,--wrap=fstatfs) # a network file system, pretended
