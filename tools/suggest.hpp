// Finds what somebody meant who mistyped a verb.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

namespace bus::tools {

// Insertions, deletions, replacements and swaps of neighbours that make one text of the other.
std::size_t edit_distance(std::string_view from, std::string_view to);

// If the words name no verb: a message, with the verb that is nearest or those there are.
std::optional<std::string> wrong_verb(const CLI::App& app, const std::vector<std::string>& words);

}  // namespace bus::tools
