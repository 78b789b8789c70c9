// What a fuzz target is: it takes any bytes and must neither crash nor break an invariant; seeds() are inputs that reach
// deep, made by code. libFuzzer calls it by the name it knows; replay.cpp calls it in every run of the tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/bytes.hpp"

namespace bus::fuzz {

std::vector<std::string> seeds();

// Aligned as the broker's own buffers are.
inline Buffer buffer_of(const std::uint8_t* data, std::size_t bytes) { return Buffer(data, data + bytes); }
inline std::string text_of(const Buffer& buffer) { return std::string(bus::text_of(buffer)); }

// An invariant that holds for every input.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
}

}  // namespace bus::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes);
