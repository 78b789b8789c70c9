#include "tools/suggest.hpp"

#include <algorithm>

namespace bus::tools {

std::size_t edit_distance(std::string_view from, std::string_view to) {
  std::vector<std::vector<std::size_t>> cost(from.size() + 1, std::vector<std::size_t>(to.size() + 1));
  for (std::size_t i = 0; i <= from.size(); ++i) {
    for (std::size_t j = 0; j <= to.size(); ++j) {
      auto& least = cost[i][j];
      least = i + j;
      if (i == 0 || j == 0) continue;
      least = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + (from[i - 1] != to[j - 1])});
      const bool swapped = i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
      if (swapped) least = std::min(least, cost[i - 2][j - 2] + 1);
    }
  }
  return cost[from.size()][to.size()];
}

namespace {

std::vector<const CLI::App*> verbs_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

const CLI::App* verb_of(const CLI::App& app, const std::string& name) {
  for (const auto* verb : verbs_of(app)) {
    if (verb->get_name() == name) return verb;
  }
  return nullptr;
}

std::string names_of(const CLI::App& app) {
  std::string all;
  for (const auto* verb : verbs_of(app)) all += (all.empty() ? "" : ", ") + verb->get_name();
  return all;
}

// Without what is attached to it: "--timeout=5s", "-ojson".
std::string option_name(const std::string& word) {
  return word.starts_with("--") ? word.substr(0, word.find('=')) : word.substr(0, 2);
}

std::string complaint(const CLI::App& parent, const std::string& path, const std::string& word) {
  std::string nearest;
  std::size_t least = word.size() / 2 + 1;
  for (const auto* verb : verbs_of(parent)) {
    const auto& name = verb->get_name();
    const auto distance = name.starts_with(word) ? 1 : edit_distance(word, name);
    if (distance > least || (distance == least && !nearest.empty())) continue;
    least = distance;
    nearest = name;
  }
  const auto text = "there is no verb '" + path + word + "'";
  if (nearest.empty()) return text + "; there are " + names_of(parent);
  return text + "; did you mean '" + path + nearest + "'?";
}

}  // namespace

std::optional<std::string> wrong_verb(const CLI::App& app, const std::vector<std::string>& words) {
  const auto* at = &app;
  std::string path;
  for (std::size_t i = 0; i < words.size() && !verbs_of(*at).empty(); ++i) {
    const auto& word = words[i];
    if (word.starts_with('-')) {
      const auto* option = app.get_option_no_throw(option_name(word));
      if (option == nullptr) return "there is no option '" + option_name(word) + "' before the verb";
      const bool value_follows = option->get_items_expected_max() > 0 && option_name(word) == word;
      if (value_follows) ++i;
      continue;
    }
    const auto* verb = verb_of(*at, word);
    if (verb == nullptr) return complaint(*at, path, word);
    at = verb;
    path += word + " ";
  }
  if (verbs_of(*at).empty()) return {};
  return "'" + (path.empty() ? "bus-cli" : path.substr(0, path.size() - 1)) + "' needs a verb: " + names_of(*at);
}

}  // namespace bus::tools
