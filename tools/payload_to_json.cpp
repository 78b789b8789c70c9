// GenerateText of flatbuffers 2.0.8 is not used: it writes doubles with 12 fixed decimals, so that 1e-15 becomes
// 0.0, nan and inf as words that are no JSON, and fails on text that is no UTF-8.
#include "tools/payload_to_json.hpp"

#include <charconv>
#include <cmath>
#include <type_traits>

#include "tools/payload_json.hpp"
#include "tools/utf8.hpp"

namespace bus::tools {

namespace {

using flatbuffers::Table;

bool is_plain(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x20 && byte < 0x7F && c != '"' && c != '\\';
}

void append_escaped(std::string& out, char c) {
  static constexpr char digits[] = "0123456789abcdef";
  switch (c) {
    case '"': out += "\\\""; return;
    case '\\': out += "\\\\"; return;
    case '\n': out += "\\n"; return;
    case '\r': out += "\\r"; return;
    case '\t': out += "\\t"; return;
    default: out += "\\u00", out += digits[(c >> 4) & 7], out += digits[c & 15];
  }
}

class Decoder {
 public:
  explicit Decoder(const PayloadSchema& schema) : schema_(schema) { out_.reserve(512); }

  void table(const SchemaObject& object, const Table& table) {
    char separator = '{';
    for (const auto& field : object.fields) {
      if (is_full()) return;
      if (is_absent(field, table)) continue;
      out_ += separator;
      separator = ',';
      out_ += field.label;
      field_value(field, table);
    }
    out_ += separator == '{' ? "{}" : "}";
  }

  bool is_full() const { return out_.size() > json_bytes_max; }
  std::string take() { return std::move(out_); }

 private:
  static bool is_absent(const SchemaField& field, const Table& table) {
    return !table.CheckField(field.offset) && (field.optional || !is_scalar(field.type.kind));
  }

  void field_value(const SchemaField& field, const Table& table) {
    if (const auto* at = table.GetAddressOf(field.offset)) {
      return field.type.kind == Kind::Union ? union_member(field, table) : value(field.type, at);
    }
    visit_scalar(field.type.kind, [&](auto zero) {
      using T = decltype(zero);
      scalar(field.type, std::is_floating_point_v<T> ? static_cast<T>(field.default_real) : static_cast<T>(field.default_integer));
    });
  }

  // The type of a union stands in the field before it.
  void union_member(const SchemaField& field, const Table& table) {
    const auto type = table.GetField<std::uint8_t>(static_cast<flatbuffers::voffset_t>(field.offset - 2), 0);
    const auto* entry = schema_.enumeration(field.type)->find(std::int64_t{type});
    if (entry == nullptr || entry->member.kind == Kind::None) return void(out_ += "null");  // of a newer schema
    const auto* at = table.GetPointer<const std::uint8_t*>(field.offset);
    if (entry->member.kind == Kind::String) return string(reinterpret_cast<const flatbuffers::String*>(at));
    object(schema_.object(entry->member), at);
  }

  // `at` is where the value stands, or where the offset to it does.
  void value(const ValueType& type, const std::uint8_t* at) {
    if (type.kind == Kind::String) return string(target<flatbuffers::String>(at));
    if (type.kind == Kind::Vector) return vector(type.of_element(), *target<flatbuffers::Vector<std::uint8_t>>(at));
    if (type.kind == Kind::Array) return elements(type.of_element(), at, type.length);
    if (type.kind == Kind::Obj) {
      const auto& schema = schema_.object(type);
      return object(schema, schema.is_struct ? at : target<std::uint8_t>(at));
    }
    visit_scalar(type.kind, [&](auto zero) { scalar(type, flatbuffers::ReadScalar<decltype(zero)>(at)); });
  }

  void string(const flatbuffers::String* text) { append_json_string(out_, {text->c_str(), text->size()}); }

  template <typename T>
  static const T* target(const std::uint8_t* at) {
    return reinterpret_cast<const T*>(at + flatbuffers::ReadScalar<flatbuffers::uoffset_t>(at));
  }

  void object(const SchemaObject& schema, const std::uint8_t* at) {
    if (!schema.is_struct) return table(schema, *reinterpret_cast<const Table*>(at));
    char separator = '{';
    for (const auto& field : schema.fields) {
      if (is_full()) return;  // fields of a struct may share their bytes
      out_ += separator;
      separator = ',';
      out_ += field.label;
      value(field.type, at + field.offset);
    }
    out_ += '}';
  }

  void vector(const ValueType& element, const flatbuffers::Vector<std::uint8_t>& vector) {
    elements(element, vector.Data(), vector.size());
  }

  void elements(const ValueType& element, const std::uint8_t* at, std::size_t count) {
    const bool inlined = is_scalar(element.kind) || (element.kind == Kind::Obj && schema_.object(element).is_struct);
    const auto step = inlined ? schema_.inline_bytes(element) : sizeof(flatbuffers::uoffset_t);
    out_ += '[';
    for (std::size_t i = 0; i < count && !is_full(); ++i, at += step) {
      if (i > 0) out_ += ',';
      value(element, at);
    }
    out_ += ']';
  }

  template <typename T>
  void scalar(const ValueType& type, T number) {
    if constexpr (std::is_floating_point_v<T>) {
      if (!std::isfinite(number)) return void(out_ += std::isnan(number) ? "\"nan\"" : number > 0 ? "\"inf\"" : "\"-inf\"");
      if (number == 0 && std::signbit(number)) return void(out_ += "-0.0");  // -0 would read back as an integer
    } else {
      if (type.kind == Kind::Bool) return void(out_ += number != 0 ? "true" : "false");
      const auto* names = schema_.enumeration(type);
      const auto* entry = names != nullptr ? names->find(static_cast<std::int64_t>(number)) : nullptr;
      if (entry != nullptr) return append_json_string(out_, entry->name);
    }
    char digits[32];  // the shortest form that reads back as the same number
    out_.append(digits, std::to_chars(digits, digits + sizeof digits, number).ptr);
  }

  const PayloadSchema& schema_;
  std::string out_;
};

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  while (!text.empty()) {
    std::size_t plain = 0;
    while (plain < text.size() && is_plain(text[plain])) ++plain;
    out += text.substr(0, plain);
    text.remove_prefix(plain);
    if (text.empty()) break;
    const auto bytes = utf8_sequence_bytes(text);
    if (bytes > 1) out += text.substr(0, bytes);
    if (bytes == 1) append_escaped(out, text.front());
    if (bytes == 0) out += "\uFFFD";
    text.remove_prefix(bytes == 0 ? 1 : bytes);
  }
  out += '"';
}

Result<std::string> payload_to_json(const PayloadSchema& schema, Bytes payload) {
  Decoder decoder(schema);
  decoder.table(schema.root(), *flatbuffers::GetRoot<Table>(payload.data()));
  if (decoder.is_full()) {
    return Error{Code::event_too_large, "as JSON the payload has more than " + std::to_string(json_bytes_max) + " bytes"};
  }
  return decoder.take();
}

}  // namespace bus::tools
