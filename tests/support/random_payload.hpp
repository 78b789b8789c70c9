// Random payloads of any schema, by way of JSON.
#pragma once

#include <flatbuffers/reflection.h>

#include <random>
#include <string>

namespace bus::test {

// Writes JSON of a table: every field there or not, values from the edges of their type and from between. Deprecated fields are
// left out, as generated code leaves them out; required ones never are.
class RandomPayload {
 public:
  RandomPayload(const reflection::Schema& schema, std::mt19937_64& random) : schema_(schema), random_(random) {}

  std::string table(const reflection::Object& object) {
    ++depth_;
    std::string text;
    for (const auto* field : *object.fields()) {
      const auto base = field->type()->base_type();
      if (base == reflection::UType || is_left_out(object, *field)) continue;
      text += text.empty() ? "" : ", ";
      text += base == reflection::Union ? member(*field) : quote(field->name()->str()) + ": " + value(*field->type());
    }
    --depth_;
    return "{" + text + "}";
  }

 private:
  bool is_left_out(const reflection::Object& object, const reflection::Field& field) {
    if (object.is_struct() || field.required()) return false;
    const bool leads_on = field.type()->base_type() >= reflection::Vector;
    return field.deprecated() || random_() % 4 == 0 || (leads_on && depth_ > 4);
  }

  static std::string quote(const std::string& text) { return '"' + text + '"'; }

  std::string member(const reflection::Field& field) {
    const auto& values = *schema_.enums()->Get(static_cast<flatbuffers::uoffset_t>(field.type()->index()))->values();
    const auto* chosen = values.Get(static_cast<flatbuffers::uoffset_t>(1 + random_() % (values.size() - 1)));
    const auto name = field.name()->str();
    return quote(name + "_type") + ": " + quote(chosen->name()->str()) + ", " + quote(name) + ": " + value(*chosen->union_type());
  }

  std::string value(const reflection::Type& type) {
    const auto base = type.base_type();
    if (base == reflection::Vector) return list(type, random_() % 4);
    if (base == reflection::Array) return list(type, type.fixed_length());
    return element(base, type.index());
  }

  std::string list(const reflection::Type& type, std::size_t count) {
    std::string text;
    for (std::size_t at = 0; at < count; ++at) text += (at > 0 ? ", " : "") + element(type.element(), type.index());
    return "[" + text + "]";
  }

  std::string element(reflection::BaseType base, int index) {
    if (base == reflection::Obj) return table(*schema_.objects()->Get(static_cast<flatbuffers::uoffset_t>(index)));
    if (base == reflection::String) return quote(std::string(random_() % 9, static_cast<char>('a' + random_() % 26)));
    if (base == reflection::Float || base == reflection::Double) return std::to_string(static_cast<double>(random_() % 4000) / 8 - 250);
    if (index >= 0) {
      const auto& values = *schema_.enums()->Get(static_cast<flatbuffers::uoffset_t>(index))->values();
      return std::to_string(values.Get(static_cast<flatbuffers::uoffset_t>(random_() % values.size()))->value());
    }
    return integer(base);
  }

  std::string integer(reflection::BaseType base) {
    if (base == reflection::Bool) return random_() % 2 == 0 ? "true" : "false";
    const auto bits = 8 * flatbuffers::GetTypeSize(base);
    const bool is_signed = base == reflection::Byte || base == reflection::Short || base == reflection::Int || base == reflection::Long;
    const std::uint64_t all = ~std::uint64_t{0} >> (64 - bits);
    const std::uint64_t choices[] = {0, 1, 2, all, all / 2, all / 2 + 1, random_() & all};
    const auto chosen = choices[random_() % std::size(choices)];
    if (!is_signed) return std::to_string(chosen);
    return std::to_string(static_cast<std::int64_t>(chosen << (64 - bits)) >> (64 - bits));
  }

  const reflection::Schema& schema_;
  std::mt19937_64& random_;
  int depth_ = 0;
};

}  // namespace bus::test
