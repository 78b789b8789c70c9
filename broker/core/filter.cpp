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

Result<std::vector<Filter::Attribute>> take_attributes(const wire::Filter& filter) {
  std::vector<Filter::Attribute> out;
  const auto* list = filter.attributes();
  if (list == nullptr) return out;
  if (list->size() > limits::filter_attributes_max) {
    return Error{Code::bad_filter, std::to_string(list->size()) + " attributes; at most " + std::to_string(limits::filter_attributes_max) + " are allowed"};
  }
  for (const auto* one : *list) {
    if (one->name() == nullptr || one->name()->size() == 0 || one->name()->size() > limits::text_bytes_max) {
      return Error{Code::bad_filter, "the name of an attribute is empty or too long"};
    }
    if (one->values() != nullptr && one->values()->size() > limits::filter_entries_max) {
      return Error{Code::bad_filter, "attribute '" + one->name()->str() + "' has more than " + std::to_string(limits::filter_entries_max) + " values"};
    }
    Filter::Attribute attribute{one->name()->str(), {}};
    for (std::uint32_t at = 0; one->values() != nullptr && at < one->values()->size(); ++at) {
      if (one->values()->Get(at)->size() > limits::text_bytes_max) {
        return Error{Code::bad_filter, "a value of attribute '" + attribute.name + "' is too long"};
      }
      attribute.values.push_back(one->values()->Get(at)->str());
    }
    std::sort(attribute.values.begin(), attribute.values.end());
    out.push_back(std::move(attribute));
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  const auto twice = std::adjacent_find(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.name == b.name; });
  if (twice != out.end()) return Error{Code::bad_filter, "attribute '" + twice->name + "' is named twice; give it all its values at once"};
  return out;
}

void put_list(Writer& writer, const std::vector<std::string>& list) {
  writer.put(static_cast<std::uint32_t>(list.size()));
  for (const auto& text : list) writer.put_string(text);
}

std::vector<std::string> get_list(Reader& reader) {
  std::vector<std::string> list;
  for (auto count = reader.get<std::uint32_t>(); count > 0 && reader.ok(); --count) list.emplace_back(reader.get_string());
  return list;
}

}  // namespace

void Filter::put(Writer& writer, const Spec& spec) {
  for (const auto* list : {&spec.patterns, &spec.types, &spec.keys}) put_list(writer, *list);
  writer.put(spec.time_from).put(spec.time_to);
  writer.put_string({reinterpret_cast<const char*>(spec.priorities.data()), spec.priorities.size()});
  writer.put(static_cast<std::uint32_t>(spec.attributes.size()));
  for (const Attribute& one : spec.attributes) put_list(writer.put_string(one.name), one.values);
}

Filter::Spec Filter::get(Reader& reader) {
  Spec spec;
  for (auto* list : {&spec.patterns, &spec.types, &spec.keys}) *list = get_list(reader);
  spec.time_from = reader.get<std::int64_t>();
  spec.time_to = reader.get<std::int64_t>();
  const auto priorities = reader.get_string();
  spec.priorities.assign(priorities.begin(), priorities.end());
  for (auto count = reader.get<std::uint32_t>(); count > 0 && reader.ok(); --count) {
    std::string name(reader.get_string());
    spec.attributes.push_back({std::move(name), get_list(reader)});
  }
  return spec;
}

std::unique_ptr<wire::FilterT> Filter::to_wire(const Spec& spec) {
  auto to = std::make_unique<wire::FilterT>();
  to->patterns = spec.patterns;
  to->types = spec.types;
  to->keys = spec.keys;
  to->time_from = spec.time_from;
  to->time_to = spec.time_to;
  for (const auto priority : spec.priorities) to->priorities.push_back(static_cast<wire::Priority>(priority));
  for (const Attribute& one : spec.attributes) {
    to->attributes.push_back(std::make_unique<wire::AttributeFilterT>());
    to->attributes.back()->name = one.name;
    to->attributes.back()->values = one.values;
  }
  return to;
}

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
  auto attributes = take_attributes(*filter);
  if (!attributes) return attributes.error();
  spec = {std::move(*patterns), std::move(*types), std::move(*keys), filter->time_from(), filter->time_to(), {}, std::move(*attributes)};
  for (std::uint32_t at = 0; filter->priorities() != nullptr && at < filter->priorities()->size() && at < limits::filter_entries_max; ++at) {
    const auto priority = static_cast<std::uint8_t>(filter->priorities()->Get(at));
    if (priority > static_cast<std::uint8_t>(wire::Priority::low)) return Error{Code::bad_filter, "a priority is high, medium or low"};
    spec.priorities.push_back(priority);
  }
  std::sort(spec.priorities.begin(), spec.priorities.end());
  spec.priorities.erase(std::unique(spec.priorities.begin(), spec.priorities.end()), spec.priorities.end());
  if (spec.time_from != 0 && spec.time_to != 0 && spec.time_from > spec.time_to) {
    return Error{Code::bad_filter, "the range of event times ends before it begins"};
  }
  return spec;
}

Filter::Filter(Spec spec, std::uint64_t key_secret)
    : spec_(std::move(spec)), is_by_kind_(spec_.keys.empty() && spec_.time_from == 0 && spec_.time_to == 0 && spec_.attributes.empty()) {
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

bool Filter::matches_priority(std::uint8_t priority) const {
  return spec_.priorities.empty() || std::binary_search(spec_.priorities.begin(), spec_.priorities.end(), priority);
}

bool Filter::matches_attributes(const store::Record& record, std::uint32_t at) const {
  if (spec_.attributes.empty()) return true;
  const auto* has = wire::trusted_event(record.body(at))->attributes();
  return std::all_of(spec_.attributes.begin(), spec_.attributes.end(), [&](const Attribute& wanted) {
    for (std::uint32_t one = 0; has != nullptr && one < has->size(); ++one) {
      if (has->Get(one)->name()->string_view() != wanted.name) continue;
      return wanted.values.empty() || std::binary_search(wanted.values.begin(), wanted.values.end(), has->Get(one)->value()->string_view());
    }
    return false;
  });
}

bool Filter::has_key(const store::Record& record, std::uint32_t at) const {
  return spec_.keys.empty() || std::find(key_hashes_.begin(), key_hashes_.end(), record.key_hash(at)) != key_hashes_.end();
}

bool Filter::matches_key(const store::Record& record, std::uint32_t at) const {
  if (spec_.keys.empty()) return true;
  if (!has_key(record, at)) return false;
  const auto* key = wire::trusted_event(record.body(at))->key();  // two keys may share a hash
  return key != nullptr && std::binary_search(spec_.keys.begin(), spec_.keys.end(), key->str());
}

bool Filter::matches_time(const store::Record& record, std::uint32_t at) const {
  if (spec_.time_from == 0 && spec_.time_to == 0) return true;
  const auto time = wire::trusted_event(record.body(at))->time();
  return (spec_.time_from == 0 || time >= spec_.time_from) && (spec_.time_to == 0 || time <= spec_.time_to);
}

}  // namespace bus::broker
