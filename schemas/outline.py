#!/usr/bin/env python3
"""Divides the C++ that flatc generates: outline.py IN_flatc.h OUT_generated.h OUT_generated.cpp

flatc writes everything inline into the header, and the header of the wire is included by nearly every source of the
project: compiling what builds, copies, verifies and unpacks its tables would be half of the work of each of them. That
goes into a source of its own, and the header keeps the types and declarations.
"""
import pathlib
import re
import sys

came, header_path, source_path = map(pathlib.Path, sys.argv[1:])
header, source = [], []


def define(text):
    """A declaration's text as that of a definition: without inline, and without default arguments."""
    return re.sub(r" = [^,()\n]+(?=[,)])", "", text.removeprefix("inline "))


def blocks(lines):
    """The file in pieces: whole functions and builders, each with its namespace; else single lines."""
    lines = iter(lines)
    for line in lines:
        block = [line]
        whole = line.startswith("inline ") or re.match(r"struct \w+Builder \{", line)
        inside = line == "  bool Verify(flatbuffers::Verifier &verifier) const {"
        end = "  }" if inside else "};" if line.startswith("struct") else "}"
        if (whole or inside) and not line.endswith("}"):
            for line in lines:
                block.append(line)
                if line == end:
                    break
        yield block


table = None
for block in blocks(came.read_text().replace("_flatc.h", "_generated.h").splitlines()):
    line, text = block[0], "\n".join(block)
    if opened := re.match(r"struct (\w+) FLATBUFFERS_FINAL_CLASS", line):
        table = opened[1]
    if re.match(r"namespace \w+ \{|\}  // namespace", line):
        source.append(line)
    if line.startswith("  bool Verify("):
        header.append(line.removesuffix(" {") + ";")
        source.append(text.replace("  bool Verify(", f"bool {table}::Verify(", 1))
    elif re.match(r"struct \w+Builder \{", line):
        source.append(text)
    elif line.startswith("inline ") and "(&" not in line:
        signature, _, _ = text.partition(" {")
        source.append(define(signature) + text.removeprefix(signature))
        if "::" not in signature.partition("(")[0].split()[-1]:
            header.append(signature.removeprefix("inline ") + ";")
    else:
        header.append(text)

name = header_path.name
header_path.write_text("#pragma GCC visibility push(default)\n" + "\n".join(header) + "\n#pragma GCC visibility pop\n")
source_path.write_text(f'#include "bus/{name}"\n\n' + "\n".join(source) + "\n")
