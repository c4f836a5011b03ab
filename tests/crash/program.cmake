# twz_crash_program(NAME [SOURCE...]): a twzcrash of its own, with the workloads in SOURCEs, or in the object library NAME_code.
# For this build, and for that of a program somewhere else (program/CMakeLists.txt).
function(twz_crash_program name)
	if(ARGN)
		add_library(${name}_code OBJECT ${ARGN})
		target_link_libraries(${name}_code PRIVATE twz_flags crash_flags crash_own crash_twzdb)
	endif()
	add_executable(${name} $<TARGET_OBJECTS:${name}_code>)
	target_link_libraries(${name} PRIVATE crash_main crash_own crash_harness crash_twzdb)
	set_property(GLOBAL APPEND PROPERTY twz_crash_programs ${name})
endfunction()
