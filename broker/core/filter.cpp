#include "broker/core/filter.hpp"

#include <algorithm>

#include "wire/event_codec.hpp"

namespace bus::broker {

namespace {

using Strings = flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>;

Result<std::vector<std::string>> take(const Strings* list, const char* what) {
  std::vector<std::string> out;
  if (list == nullptr) return out;
  if (list->size() > limits::filter_entries_max) {
    return Error{Code::bad_filter, std::to_string(list->size()) + " " + what + "; at most " +
                                       std::to_string(limits::filter_entries_max) + " are allowed"};
  }
  for (const auto* text : *list) {
    if (text->size() == 0 || text->size() > limits::text_bytes_max) {
      return Error{Code::bad_filter, std::string("one of the ") + what + " is empty or too long"};
    }
    out.push_back(text->str());
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace

Result<Filter::Spec> Filter::check(const wire::Filter* filter) {
  Spec spec;
  if (filter == nullptr) return spec;
  if (filter->patterns() != nullptr) {
    for (const auto* pattern : *filter->patterns()) {
      if (auto good = wire::check_pattern(pattern->string_view()); !good) return good.error();
    }
  }
  auto patterns = take(filter->patterns(), "patterns");
  auto types = take(filter->types(), "types");
  auto keys = take(filter->keys(), "keys");
  if (!patterns) return patterns.error();
  if (!types) return types.error();
  if (!keys) return keys.error();
  spec = {std::move(*patterns), std::move(*types), std::move(*keys), filter->time_from(), filter->time_to()};
  if (spec.time_from != 0 && spec.time_to != 0 && spec.time_from > spec.time_to) {
    return Error{Code::bad_filter, "the range of event times ends before it begins"};
  }
  return spec;
}

Filter::Filter(Spec spec, std::uint64_t key_secret)
    : spec_(std::move(spec)), is_by_kind_(spec_.keys.empty() && spec_.time_from == 0 && spec_.time_to == 0) {
  for (const auto& key : spec_.keys) key_hashes_.push_back(hash128(bytes_of(key), key_secret));
}

bool Filter::matches_topic(std::string_view topic) const {
  return spec_.patterns.empty() || std::any_of(spec_.patterns.begin(), spec_.patterns.end(), [&](const auto& pattern) {
           return wire::pattern_matches(pattern, topic);
         });
}

bool Filter::matches_topic_number(std::uint32_t topic, const State& state) {
  if (spec_.patterns.empty()) return true;
  if (topic >= topics_.size()) topics_.resize(state.topics.size() + 1, -1);
  if (topics_[topic] < 0) topics_[topic] = matches_topic(state.topics.name(topic)) ? 1 : 0;
  return topics_[topic] != 0;
}

bool Filter::matches_type(std::uint32_t type, const State& state) const {
  return spec_.types.empty() || std::binary_search(spec_.types.begin(), spec_.types.end(), state.types.name(type));
}

bool Filter::matches_key(const store::Record& record, std::uint32_t at) const {
  if (spec_.keys.empty()) return true;
  const auto entry = record.entry(at);
  if (!entry.key || std::find(key_hashes_.begin(), key_hashes_.end(), entry.key->hash) == key_hashes_.end()) return false;
  const auto* key = wire::trusted_event(record.body(at))->key();  // two keys may share a hash
  return key != nullptr && std::binary_search(spec_.keys.begin(), spec_.keys.end(), key->str());
}

bool Filter::matches_time(const store::Record& record, std::uint32_t at) const {
  if (spec_.time_from == 0 && spec_.time_to == 0) return true;
  const auto time = wire::trusted_event(record.body(at))->time();
  return (spec_.time_from == 0 || time >= spec_.time_from) && (spec_.time_to == 0 || time <= spec_.time_to);
}

}  // namespace bus::broker
