// What nearly every test of the store includes, compiled once.
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "broker/store/store.hpp"
