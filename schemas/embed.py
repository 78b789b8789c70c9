#!/usr/bin/env python3
"""Turns binary files into one C++ file of arrays: embed.py OUT.hpp NAME=FILE ..."""
import sys

out, *items = sys.argv[1:]
with open(out, "w") as text:
    text.write("#pragma once\n#include <string_view>\nnamespace bus::embedded {\n")
    for item in items:
        name, path = item.split("=", 1)
        with open(path, "rb") as file:
            data = file.read()
        body = ",".join(str(byte) for byte in data)
        text.write(f"alignas(8) inline constexpr unsigned char {name}_bytes[] = {{{body}}};\n")
        text.write(f"inline const std::string_view {name}{{reinterpret_cast<const char*>({name}_bytes), {len(data)}}};\n")
    text.write("}  // namespace bus::embedded\n")
