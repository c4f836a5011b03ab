# tests of this area: see CMakeLists.txt; the rules are in lint/README.md
find_package(Python3 REQUIRED COMPONENTS Interpreter)
foreach(rule headers symbols layers freestanding flush simd media readme leftovers spdx length promises)
	add_test(NAME lint.${rule} COMMAND Python3::Interpreter ${CMAKE_CURRENT_SOURCE_DIR}/lint/lint.py ${rule}
		--build ${CMAKE_BINARY_DIR} --cc ${CMAKE_C_COMPILER} --cxx ${CMAKE_CXX_COMPILER})
	set_tests_properties(lint.${rule} PROPERTIES LABELS "lint;quick" TIMEOUT 120)
endforeach()
add_test(NAME lint.rules_can_fail COMMAND Python3::Interpreter ${CMAKE_CURRENT_SOURCE_DIR}/lint/lint.py --selftest
	--cc ${CMAKE_C_COMPILER} --cxx ${CMAKE_CXX_COMPILER})
set_tests_properties(lint.rules_can_fail PROPERTIES LABELS "lint;quick" TIMEOUT 120)
# Labels over their budget fail: does that notice? (./dev test)
add_test(NAME lint.budget COMMAND Python3::Interpreter ${CMAKE_CURRENT_SOURCE_DIR}/budget.py --selftest)
set_tests_properties(lint.budget PROPERTIES LABELS "lint;quick" TIMEOUT 120)
