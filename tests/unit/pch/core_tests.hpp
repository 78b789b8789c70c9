// What nearly every test of the core includes, compiled once.
#include <gtest/gtest.h>

#include "tests/support/harness.hpp"
