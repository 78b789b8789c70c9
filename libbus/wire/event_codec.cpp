#include "wire/event_codec.hpp"

#include <algorithm>
#include <array>
#include <string>

#include <flatbuffers/util.h>

#include "base/limits.hpp"

namespace bus::wire {

namespace {

constexpr bool is_token_byte(unsigned byte) {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
         byte == '-' || byte == '_' || byte >= 0x80;
}

// Every byte of every topic is looked up here.
constexpr auto token_bytes = [] {
  std::array<bool, 256> bytes{};
  for (unsigned byte = 0; byte < 256; ++byte) bytes[byte] = is_token_byte(byte);
  return bytes;
}();

// Calls visit(token, is_last) for each token between dots until it says false.
template <typename Visit>
bool each_token(std::string_view text, Visit visit) {
  for (;;) {
    const auto dot = text.find('.');
    const bool last = dot == std::string_view::npos;
    if (!visit(text.substr(0, dot), last)) return false;
    if (last) return true;
    text.remove_prefix(dot + 1);
  }
}

bool plain_token(std::string_view token) {
  return !token.empty() && std::all_of(token.begin(), token.end(), [](char c) { return token_bytes[static_cast<unsigned char>(c)]; });
}

[[gnu::cold, gnu::noinline]] std::string quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text.substr(0, 64)) out += (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) ? '?' : c;
  return out + (text.size() > 64 ? "…'" : "'");
}

[[gnu::cold, gnu::noinline]] Error length_error(Code code, const char* what, std::size_t size, std::size_t most) {
  return {code, std::string(what) + " has " + std::to_string(size) + " bytes; 1 to " + std::to_string(most) + " are allowed"};
}

Result<const Event*> verify_event(Bytes event) {
  const auto size = std::size_t{load<std::uint32_t>(event.data())};
  if (size > limits::event_bytes_max) {
    return Error{Code::event_too_large, "the event has " + std::to_string(size) + " bytes, the limit is " +
                                            std::to_string(limits::event_bytes_max)};
  }
  flatbuffers::Verifier::Options options;
  options.max_depth = limits::verifier_depth_max;
  options.max_tables = limits::verifier_tables_max;
  flatbuffers::Verifier verifier(event.data(), size + 4, options);
  if (!verifier.VerifySizePrefixedBuffer<Event>(nullptr)) {
    return Error{Code::bad_event, "the envelope does not verify as bus.Event"};
  }
  return trusted_event(event);
}

bool is_too_long(const flatbuffers::String* text) { return text != nullptr && text->size() > limits::text_bytes_max; }

[[gnu::cold, gnu::noinline]] Error too_long(const char* what, std::size_t size) {
  return {Code::bad_event, std::string(what) + " has " + std::to_string(size) + " bytes, the limit is " + std::to_string(limits::text_bytes_max)};
}

[[gnu::noinline]] Result<void> check_attributes(const flatbuffers::Vector<flatbuffers::Offset<Attribute>>& attributes) {
  if (attributes.size() > limits::attributes_max) {
    return Error{Code::bad_event, "attributes: " + std::to_string(attributes.size()) + ", the limit is " +
                                      std::to_string(limits::attributes_max)};
  }
  for (const auto* attribute : attributes) {
    if (is_too_long(attribute->name())) return too_long("an attribute's name", attribute->name()->size());
  }
  return {};
}

bool has_long_text(const Event& event) {
  return is_too_long(event.source()) || is_too_long(event.subject()) || is_too_long(event.correlation_id()) ||
         is_too_long(event.causation_id()) || is_too_long(event.traceparent()) || is_too_long(event.dataschema());
}

[[gnu::cold, gnu::noinline]] Error long_text(const Event& event) {
  for (const auto& [text, what] : {std::pair{event.source(), "source"}, {event.subject(), "subject"},
                                   {event.correlation_id(), "correlation_id"}, {event.causation_id(), "causation_id"},
                                   {event.traceparent(), "traceparent"}, {event.dataschema(), "dataschema"}}) {
    if (is_too_long(text)) return too_long(what, text->size());
  }
  return {};
}

Result<void> check_rules(const Event& event) {
  if (event.key() != nullptr && (event.key()->size() == 0 || event.key()->size() > limits::key_bytes_max)) {
    return length_error(Code::bad_key, "the key", event.key()->size(), limits::key_bytes_max);
  }
  if (event.id()->size() == 0 || event.id()->size() > limits::id_bytes_max) {
    return length_error(Code::bad_event, "id", event.id()->size(), limits::id_bytes_max);
  }
  if (event.encoding() != Encoding::plain || event.priority() > Priority::low) {
    return Error{Code::bad_event, "encoding or priority is not one this broker knows"};
  }
  if (event.deliver_at() < 0 || event.expires_at() < 0) {
    return Error{Code::bad_event, "deliver_at and expires_at are nanoseconds since 1970, or 0 for none"};
  }
  if (event.expires_at() != 0 && event.expires_at() <= event.deliver_at()) {
    return Error{Code::bad_event, "expires_at must be after deliver_at, or nobody would ever get the event"};
  }
  if (has_long_text(event)) return long_text(event);
  return event.attributes() == nullptr ? Result<void>() : check_attributes(*event.attributes());
}

}  // namespace

Result<const Event*> check_event(Bytes event) {
  const auto envelope = verify_event(event);
  if (!envelope) return envelope;
  if (auto topic = check_topic((*envelope)->topic()->string_view()); !topic) return topic.error();
  if (auto rules = check_rules(**envelope); !rules) return rules.error();
  return envelope;
}

Result<void> check_topic(std::string_view topic) {
  if (topic.empty() || topic.size() > limits::topic_bytes_max) {
    return length_error(Code::bad_topic, "the topic", topic.size(), limits::topic_bytes_max);
  }
  if (each_token(topic, [](std::string_view token, bool) { return plain_token(token); })) return {};
  return Error{Code::bad_topic, "topic " + quoted(topic) +
                                    ": tokens of letters, digits, - and _ joined by single dots, no wildcards"};
}

Result<void> check_pattern(std::string_view pattern) {
  if (pattern.empty() || pattern.size() > limits::topic_bytes_max) {
    return length_error(Code::bad_pattern, "the pattern", pattern.size(), limits::topic_bytes_max);
  }
  const bool good = each_token(pattern, [](std::string_view token, bool last) {
    return token == "*" || (token == ">" && last) || plain_token(token);
  });
  if (good) return {};
  return Error{Code::bad_pattern, "pattern " + quoted(pattern) +
                                      ": a topic in which a token may be * (one token) and the last one > (one or more)"};
}

bool pattern_matches(std::string_view pattern, std::string_view topic) {
  for (;;) {
    const auto pattern_dot = pattern.find('.'), topic_dot = topic.find('.');
    const auto token = pattern.substr(0, pattern_dot);
    if (token == ">") return true;
    if (token != "*" && token != topic.substr(0, topic_dot)) return false;
    const bool pattern_last = pattern_dot == std::string_view::npos, topic_last = topic_dot == std::string_view::npos;
    if (pattern_last || topic_last) return pattern_last && topic_last;
    pattern.remove_prefix(pattern_dot + 1);
    topic.remove_prefix(topic_dot + 1);
  }
}

bool valid_name(std::string_view name, std::size_t bytes_max) {
  if (name.empty() || name.size() > bytes_max) return false;
  const std::string text(name);  // ends with a zero, which no sequence goes on with
  for (const char* at = text.c_str(); at < text.c_str() + text.size();) {
    const int letter = flatbuffers::FromUTF8(&at);
    const bool is_control = letter <= 0x20 || (letter >= 0x7f && letter <= 0x9f);
    if (is_control) return false;  // or none: -1
  }
  return true;
}

}  // namespace bus::wire
