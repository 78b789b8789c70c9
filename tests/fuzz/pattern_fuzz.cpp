// Patterns and topics: a line each. What passes the checks matches as a slow, obvious matcher says.
#include <algorithm>

#include "tests/fuzz/target.hpp"
#include "wire/event_codec.hpp"

namespace bus::fuzz {

std::vector<std::string> seeds() {
  return {"a.b.c\na.b.c", "a.*.c\na.b.c", "a.>\na.b.c", ">\na", "*\na", "*.*\na", "a.>\na", "health.data.>\nhealth.data",
          "\xc3\xa4.b\n\xc3\xa4.b", "a..b\na", "a.>.b\na.b.b", "*a\nba", ".\n.", "\n"};
}

std::vector<std::string> tokens(std::string_view text) {
  std::vector<std::string> all(1);
  for (const char c : text) {
    if (c == '.') {
      all.emplace_back();
    } else {
      all.back() += c;
    }
  }
  return all;
}

bool slowly_matches(std::string_view pattern_text, std::string_view topic_text) {
  const auto pattern = tokens(pattern_text), topic = tokens(topic_text);
  const bool is_open = pattern.back() == ">";
  const std::size_t fixed = pattern.size() - (is_open ? 1 : 0);
  if (is_open ? topic.size() <= fixed : topic.size() != fixed) return false;
  return std::equal(pattern.begin(), pattern.begin() + static_cast<std::ptrdiff_t>(fixed), topic.begin(),
                    [](const auto& token, const auto& text) { return token == "*" || token == text; });
}

}  // namespace bus::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  const std::string_view text(reinterpret_cast<const char*>(data), bytes);
  const auto line = std::min(text.find('\n'), text.size());
  const auto pattern = text.substr(0, line), topic = text.substr(std::min(line + 1, text.size()));
  const bool is_good = bus::wire::check_pattern(pattern).ok() && bus::wire::check_topic(topic).ok();
  const bool matches = bus::wire::pattern_matches(pattern, topic);  // of bad ones it may say anything
  if (is_good) bus::fuzz::require(matches == bus::fuzz::slowly_matches(pattern, topic), "a pattern matches wrongly");
  return 0;
}
