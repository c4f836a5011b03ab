# The crash harness: the same sources compiled again with every store instrumented (tests/crash/README.md).
# gcc only: the instrumentation of -fsanitize=thread is used without its run-time library. So code that asks is not to think it runs under that. Not under another sanitizer.
if(TWZ_SANITIZE OR NOT CMAKE_C_COMPILER_ID STREQUAL "GNU")
	return()
endif()

# For the compiler only, never for the linker: hooks.c has the entry points.
add_library(crash_flags INTERFACE)
target_compile_options(crash_flags INTERFACE
	-fsanitize=thread --param=tsan-instrument-func-entry-exit=0 -U__SANITIZE_THREAD__ -fno-builtin-memcpy -fno-builtin-memmove -fno-builtin-memset -Wno-tsan
	-fno-optimize-sibling-calls) # a function's last call leaves a trace of it: call sites are told by their callers

# Everything the harness is made of, but for workloads.
add_library(crash_harness STATIC
	crash/sim.c crash/sim_media.c crash/sim_log.c crash/sim_tab.c crash/sim_cover.c crash/hooks.c crash/legal.c crash/states.c crash/work.c crash/enum.c crash/stream.c crash/explain.c
	crash/actor.c crash/kill.c crash/death.c crash/sites.c crash/repro.c crash/where.c crash/fixed.c crash/count.c crash/image.c crash/resident.c crash/thrice.c)
target_include_directories(crash_harness PUBLIC crash)
target_link_libraries(crash_harness PUBLIC twz_t PkgConfig::XXHASH PkgConfig::UUID Threads::Threads)
foreach(fn memcpy memmove memset getrandom uuid_generate uuid_generate_random time clock_gettime posix_fallocate mmap munmap fsync renameat2)
	target_link_options(crash_harness INTERFACE -Wl,--wrap=${fn})
endforeach()

# libtwz and the engine once more, instrumented.
add_library(crash_twz STATIC ${TWZ_ALL_SOURCES})
target_include_directories(crash_twz PUBLIC ${CMAKE_SOURCE_DIR}/twz/include
	PRIVATE ${CMAKE_SOURCE_DIR}/twz/core ${CMAKE_SOURCE_DIR}/twz/src)
target_link_libraries(crash_twz PRIVATE twz_flags crash_flags
	PUBLIC PkgConfig::PMEM2 PkgConfig::UUID PkgConfig::XXHASH Threads::Threads)
add_library(crash_twzdb STATIC ${TWZDB_ALL_SOURCES})
target_include_directories(crash_twzdb PUBLIC ${CMAKE_SOURCE_DIR}/engine/include PRIVATE ${CMAKE_SOURCE_DIR}/engine/src)
target_link_libraries(crash_twzdb PRIVATE twz_flags crash_flags PUBLIC crash_twz)

# The VFS too. SQLite itself is as it was installed: it stores to memory of its own only.
get_target_property(vfs_sources twzvfs_static SOURCES)
get_target_property(vfs_dir twzvfs_static SOURCE_DIR)
list(TRANSFORM vfs_sources PREPEND ${vfs_dir}/)
add_library(crash_twzvfs STATIC ${vfs_sources})
target_include_directories(crash_twzvfs PUBLIC ${vfs_dir}/include PRIVATE ${vfs_dir}/src)
target_link_libraries(crash_twzvfs PRIVATE twz_flags crash_flags PUBLIC crash_twzdb PkgConfig::SQLITE3 m)

add_library(crash_workloads OBJECT
	crash/kind_twz.c crash/kind_db.c crash/workloads.c crash/workloads_core.c crash/workloads_prim.c crash/workloads_ptr.c crash/workloads_space.c crash/workloads_tx.c
	crash/workloads_alloc.c crash/workloads_name.c crash/workloads_log.c crash/workloads_fault.c crash/workloads_engine.c crash/workloads_load.c crash/workloads_compact.c crash/workloads_group.c crash/workloads_copy.c crash/workloads_page.c crash/workloads_ranges.c crash/workloads_huge.c crash/workloads_sql.c
	crash/kind_sql.c crash/workloads_sql_native.c crash/workloads_sql_attach.c crash/workloads_sites.c)
target_include_directories(crash_workloads PRIVATE crash ${CMAKE_SOURCE_DIR}/twz/core ${CMAKE_SOURCE_DIR}/twz/src)
target_link_libraries(crash_workloads PRIVATE twz_flags crash_flags crash_twzvfs)
# The commands; and what is in every program of one's own: instrumented, for it opens and probes stores.
add_library(crash_main STATIC
	crash/main.c crash/run.c crash/campaign_run.c crash/resume.c crash/progress.c crash/mutate.c crash/mutate_list.c crash/mutate_result.c crash/flushes.c)
target_compile_definitions(crash_main PRIVATE CRASH_TREE="${PROJECT_SOURCE_DIR}/")
target_link_libraries(crash_main PRIVATE crash_harness)
add_library(crash_own STATIC crash/kind_twz.c crash/kind_db.c crash/own.c)
target_include_directories(crash_own PUBLIC crash ${CMAKE_SOURCE_DIR}/twz/src)
target_link_libraries(crash_own PRIVATE twz_flags crash_flags crash_twzdb)
include(crash/program.cmake)
add_library(twzcrash_code ALIAS crash_workloads)
twz_crash_program(twzcrash)
target_link_libraries(twzcrash PRIVATE crash_twzvfs)
target_link_options(twzcrash PRIVATE -Wl,--wrap=twzdb_open -Wl,--wrap=twz_store_open)

# Crash tests of other programs (README.md, "Your own program"). Those that are here are worked examples: a program, and the same with a mistake; the smallest.
foreach(dir crash crash/mine)
	add_subdirectory(${CMAKE_SOURCE_DIR}/examples/${dir} ${CMAKE_BINARY_DIR}/crash-examples/${dir})
endforeach()
# Those elsewhere are built elsewhere, with these libraries, the same compiler and flags: program.sh.
export(TARGETS twz_flags crash_flags twz_t crash_main crash_own crash_harness crash_twz crash_twzdb FILE ${CMAKE_BINARY_DIR}/crash-targets.cmake)
file(WRITE ${CMAKE_BINARY_DIR}/crash-settings.cmake "")
foreach(v CMAKE_BUILD_TYPE CMAKE_C_COMPILER CMAKE_CXX_COMPILER CMAKE_C_FLAGS CMAKE_CXX_FLAGS CMAKE_EXE_LINKER_FLAGS)
	file(APPEND ${CMAKE_BINARY_DIR}/crash-settings.cmake "set(${v} [[${${v}}]] CACHE STRING \"\")\n")
endforeach()
add_test(NAME crash.program COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/crash/test_program.sh ${CMAKE_BINARY_DIR})
set_tests_properties(crash.program PROPERTIES LABELS crash TIMEOUT 300)
add_test(NAME crash.example COMMAND transfer run transfer.right --limit 1500)
add_test(NAME crash.example_mine COMMAND mine run --limit 1000)
add_test(NAME crash.readme COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/crash/readme.py)
add_test(NAME crash.example_broken COMMAND sh -c "\"$1\" run transfer.broken --limit 500 --keep \"$2\"; echo exit status $?" sh $<TARGET_FILE:transfer> ${CMAKE_BINARY_DIR})
set_tests_properties(crash.example crash.example_mine crash.readme crash.example_broken PROPERTIES LABELS "crash;quick" TIMEOUT 60)
# Not any failure: this one, and what is said of it (examples/crash/README.md).
set_tests_properties(crash.example_broken PROPERTIES PASS_REGULAR_EXPRESSION
	"FAIL transfer.broken --media.*got \"account 1: 300\", want \"account 1: 0\".*transfer .transfer.c:[0-9]+.;.*none: it fails with every store up to there complete.*exit status 1")

# The harness tests itself with programs that are wrong in one known way; these need no store.
add_library(crash_toy OBJECT crash/toy.c)
target_include_directories(crash_toy PRIVATE crash ${CMAKE_SOURCE_DIR}/twz/include ${CMAKE_SOURCE_DIR}/twz/src)
target_link_libraries(crash_toy PRIVATE twz_flags crash_flags)
foreach(t selftest legal)
	add_executable(test_crash_${t} crash/test_${t}.c ${CMAKE_SOURCE_DIR}/twz/src/err.c $<TARGET_OBJECTS:crash_toy>)
	target_link_libraries(test_crash_${t} PRIVATE crash_harness)
	set_target_properties(test_crash_${t} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
	add_test(NAME crash.${t} COMMAND test_crash_${t})
	set_tests_properties(crash.${t} PROPERTIES LABELS "crash;quick" TIMEOUT 60)
endforeach()
target_sources(test_crash_selftest PRIVATE crash/progress.c)
# The kinds of store, whose checks find something in stores that are right.
add_executable(test_crash_kinds crash/test_kinds.c)
target_link_libraries(test_crash_kinds PRIVATE crash_own crash_harness crash_twzdb)
target_link_options(test_crash_kinds PRIVATE -Wl,--wrap=twz_check -Wl,--wrap=twzdb_check)
set_target_properties(test_crash_kinds PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
add_test(NAME crash.kinds COMMAND test_crash_kinds)
set_tests_properties(crash.kinds PROPERTIES LABELS "crash;quick" TIMEOUT 60)
# The same programs as a twzcrash of their own: what a failure says of each, and that the command it prints fails, too.
add_library(toys_code ALIAS crash_toy)
twz_crash_program(toys)
set_target_properties(toys PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
add_test(NAME crash.again COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/crash/again.py --toys $<TARGET_FILE:toys>)
set_tests_properties(crash.again PROPERTIES LABELS "crash;quick" TIMEOUT 120)

# Asked wrongly it does nothing, and says so.
add_test(NAME crash.cli COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/crash/cli.py --twzcrash $<TARGET_FILE:twzcrash> --twzcampaign $<TARGET_FILE:twzcampaign>)
set_tests_properties(crash.cli PROPERTIES LABELS "crash;quick" TIMEOUT 60)

add_test(NAME crash.quick COMMAND twzcrash quick)
set_tests_properties(crash.quick PROPERTIES LABELS "crash;quick" TIMEOUT 300)
# All workloads, all media: a million different images; see README.md. It uses both processors. The same ones every time, so that there are always enough.
# TIMEOUT is for a run that hangs, and counts by the clock: several times what it takes, since machines are shared. Too slow is what the label's budget says (budget.py).
add_test(NAME crash.images COMMAND twzcrash run --seed 1 --limit 9000 --second 128 --jobs 2 --require 1000000 --require-large 1000 --keep ${CMAKE_BINARY_DIR})
set_tests_properties(crash.images PROPERTIES LABELS crash TIMEOUT 1500 PROCESSORS 2 RUN_SERIAL TRUE)

# Three crashes, each in the recovery from the one before, at every point of each: of the smallest workloads of each layer.
add_test(NAME crash.thrice COMMAND twzcrash thrice --seed 1 --jobs 2 --keep ${CMAKE_BINARY_DIR})
set_tests_properties(crash.thrice PROPERTIES LABELS crash TIMEOUT 600 PROCESSORS 2)

# A run that is killed at random moments and started again ends with the totals of one that was not.
add_test(NAME crash.resume COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/crash/resume.py --twzcrash $<TARGET_FILE:twzcrash> --transfer $<TARGET_FILE:transfer>)
set_tests_properties(crash.resume PROPERTIES LABELS crash TIMEOUT 300)

# kill -9 campaigns: real processes, a real file; page media on disk, cache-line media in memory
add_executable(twzcampaign crash/campaign.c crash/campaign_do.c crash/campaign_look.c crash/campaign_clock.c)
target_link_libraries(twzcampaign PRIVATE twz_flags twzvfs_static)
add_dependencies(twzcrash twzcampaign) # twzcrash campaign, twzcrash long
# That it notices: a library with a rule broken, and a lock that waits by the wall clock. A few seconds: the first wrong thing ends it.
add_test(NAME crash.campaign_catches COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/crash/campaign_catches.py --build ${CMAKE_BINARY_DIR})
set_tests_properties(crash.campaign_catches PROPERTIES LABELS crash TIMEOUT 300)
foreach(m page line)
	add_test(NAME crash.campaign.${m} COMMAND twzcampaign --kills 150 --seconds 150) # ten are killed a second, on a machine with time for it
	set_tests_properties(crash.campaign.${m} PROPERTIES LABELS crash TIMEOUT 400)
endforeach()
set_tests_properties(crash.campaign.page PROPERTIES ENVIRONMENT "TMPDIR=${CMAKE_BINARY_DIR}")
# A disk that is full again and again: a small tmpfs in a mount namespace of its own, so only for root.
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/tests/disk)
add_test(NAME crash.campaign.full COMMAND twzcampaign --kills 200 --seconds 150 --dir ${CMAKE_BINARY_DIR}/tests/disk --full 48)
set_tests_properties(crash.campaign.full PROPERTIES LABELS crash TIMEOUT 400 SKIP_RETURN_CODE 77)
set_tests_properties(crash.campaign.line PROPERTIES ENVIRONMENT "TMPDIR=/dev/shm;PMEM2_FORCE_GRANULARITY=CACHE_LINE")

# Each line that stores to a store has run between two crash points, and nothing else is said of it that is not so.
add_test(NAME crash.coverage COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/crash/coverage.py --build ${CMAKE_BINARY_DIR})
set_tests_properties(crash.coverage PROPERTIES LABELS crash TIMEOUT 900 PROCESSORS 2)

# A death at every point while the staging area is full: one between two stores of the shared segment let the next writer stage over what was not written yet.
add_test(NAME crash.full COMMAND twzcrash run log.full --media kill --limit 80000 --kill-max 80000 --seed 1 --keep ${CMAKE_BINARY_DIR})
set_tests_properties(crash.full PROPERTIES LABELS crash TIMEOUT 300)

# Each store must be flushed at last, or flushes.list says why not.
add_test(NAME crash.flushes COMMAND twzcrash flushes --seed 1 --equivalent ${CMAKE_CURRENT_SOURCE_DIR}/crash/flushes.list)
set_tests_properties(crash.flushes PROPERTIES LABELS crash TIMEOUT 120)
# A few rules broken on purpose, other ones every time; all of them: ./dev crash --mutants
add_test(NAME crash.rules COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/crash/mutants.py --build ${CMAKE_BINARY_DIR} --sample 3)
set_tests_properties(crash.rules PROPERTIES LABELS crash TIMEOUT 600)
# A few call sites of flush, fence, sync, write and publish taken away, other ones every time (it prints --pick, for the same again).
add_test(NAME crash.sites COMMAND twzcrash mutants --seed 1 --limit 40000 --sample 4 --jobs 2
	--hints ${CMAKE_CURRENT_SOURCE_DIR}/crash/mutants.hints --equivalent ${CMAKE_CURRENT_SOURCE_DIR}/crash/equivalent.list)
set_tests_properties(crash.sites PROPERTIES LABELS crash TIMEOUT 600)
# Each such call in the sources is one of these, or sites.list says which test has it.
add_test(NAME crash.calls COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/crash/sites.py --twzcrash $<TARGET_FILE:twzcrash>)
set_tests_properties(crash.calls PROPERTIES LABELS crash TIMEOUT 300)
