# tests of this area: see CMakeLists.txt
add_test(NAME kernel.build
	COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/kernel/build.sh ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}/kernel-shim)
set_tests_properties(kernel.build PROPERTIES LABELS kernel TIMEOUT 300)
