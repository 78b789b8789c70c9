// The text becomes a tree, the tree a FlatBuffer, children before their parents as FlatBuffers need it.
//
// The JSON parser of flatbuffers 2.0.8 is not used: it takes what is no JSON (comments, 01, sin(1)), turns 1e400
// into infinity and "steps sleep" into one enum value of both numbers, and its errors name no field.
#include "tools/json_to_payload.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <type_traits>

#include "base/limits.hpp"
#include "tools/payload_json.hpp"

namespace bus::tools {

namespace {

using flatbuffers::Offset;
using flatbuffers::uoffset_t;
using flatbuffers::voffset_t;
using JsonTree = nlohmann::json;

// Ends the work on a document; never leaves this file.
struct Refused {
  Code code;
  std::string detail;
};

[[noreturn]] void refuse(std::string detail) { throw Refused{Code::bad_payload, std::move(detail)}; }

std::string shown(const JsonTree& value) {
  auto text = value.dump(-1, ' ', false, JsonTree::error_handler_t::replace);
  if (text.size() <= 40) return text;
  text.resize(40);
  while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xC0) == 0x80) text.pop_back();
  return text + "…";
}

// Refuses what a tree would hide: a name that occurs twice, and depth without end.
class ShapeCheck {
 public:
  bool operator()(int depth, JsonTree::parse_event_t event, const JsonTree& parsed) {
    if (depth > json_depth_max) refuse("nested deeper than " + std::to_string(json_depth_max) + " levels");
    if (event == JsonTree::parse_event_t::object_start) names_.emplace_back();
    if (event == JsonTree::parse_event_t::object_end) names_.pop_back();
    if (event == JsonTree::parse_event_t::key) check_name(parsed.get_ref<const std::string&>());
    return true;
  }

 private:
  void check_name(const std::string& name) {
    if (!names_.back().insert(name).second) refuse("'" + name + "' occurs twice in one object; leave one of them");
  }
  std::vector<std::set<std::string>> names_;
};

JsonTree parse(std::string_view text) {
  if (text.size() > json_bytes_max) {
    throw Refused{Code::event_too_large, "the JSON text has " + std::to_string(text.size()) + " bytes, the limit is " +
                                             std::to_string(json_bytes_max)};
  }
  // The parser takes a zero byte for the end of the text.
  if (const auto zero = text.find('\0'); zero != text.npos) refuse("not JSON: byte " + std::to_string(zero) + " is zero");
  try {
    return JsonTree::parse(text.begin(), text.end(), ShapeCheck{});
  } catch (const JsonTree::exception& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 9: …": the part in brackets is for programs.
    const std::string_view what = error.what();
    const auto end = what.find("] ");
    refuse("not JSON: " + std::string(end == std::string_view::npos ? what : what.substr(end + 2)));
  }
}

// Appends a step to the path of the value at hand for as long as it lives.
class Step {
 public:
  Step(std::string& path, std::string_view step) : path_(path), size_(path.size()) {
    if (!path_.empty() && step.front() != '[') path_ += '.';
    path_ += step;
  }
  Step(std::string& path, std::size_t element) : Step(path, "[" + std::to_string(element) + "]") {}
  ~Step() { path_.resize(size_); }
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

 private:
  std::string& path_;
  std::size_t size_;
};

class Encoder {
 public:
  explicit Encoder(const PayloadSchema& schema) : schema_(schema) {}

  std::vector<std::uint8_t> encode(const JsonTree& document) {
    builder_.Finish(Offset<void>(table(schema_.root(), document)));
    const auto* bytes = builder_.GetBufferPointer();
    return {bytes, bytes + builder_.GetSize()};
  }

 private:
  [[noreturn]] void refuse_here(const std::string& why) const {
    refuse((path_.empty() ? "the document" : path_) + ": " + why);
  }
  [[noreturn]] void refuse_kind(const char* wanted, const JsonTree& value) const {
    refuse_here(std::string(wanted) + " is wanted, here is " + shown(value));
  }

  void check_members(const SchemaObject& object, const JsonTree& value) {
    if (!value.is_object()) refuse_kind(("an object (" + object.name + ")").c_str(), value);
    for (const auto& [name, member] : value.items()) {
      if (object.find(name) != nullptr) continue;
      const Step step(path_, name.empty() ? "''" : name);
      std::string known;
      for (const auto& field : object.fields) known += (known.empty() ? "" : ", ") + field.name;
      refuse_here("no such field in " + object.name + "; it has " + known);
    }
  }

  // Offsets and structs are built first: a table cannot be interrupted once begun.
  uoffset_t table(const SchemaObject& object, const JsonTree& value) {
    if (++depth_ > limits::verifier_depth_max) refuse_here("more than " + std::to_string(limits::verifier_depth_max) + " tables deep");
    check_members(object, value);
    std::vector<uoffset_t> children(object.fields.size());
    for (std::size_t i = 0; i < children.size(); ++i) children[i] = child(object.fields[i], value);
    const auto start = builder_.StartTable();
    for (const std::size_t bytes : {8u, 4u, 2u, 1u}) add_scalars(object, value, bytes);  // large first: no padding
    for (std::size_t i = 0; i < children.size(); ++i) {
      if (children[i] != 0) builder_.AddOffset(object.fields[i].offset, Offset<void>(children[i]));
    }
    add_structs(object, value);
    --depth_;
    return builder_.EndTable(start);
  }

  static const JsonTree* member(const SchemaField& field, const JsonTree& value) {
    const auto at = value.find(field.name);
    return at == value.end() || at->is_null() ? nullptr : &*at;
  }

  uoffset_t child(const SchemaField& field, const JsonTree& object) {
    const auto* value = member(field, object);
    const Step step(path_, field.name);
    if (value == nullptr) return missing(field, object);
    if (is_scalar(field.type.kind) || is_struct(field.type)) return 0;
    if (field.type.kind == Kind::Union) return union_member(field, *value, object);
    return offset(field.type, *value);
  }

  uoffset_t missing(const SchemaField& field, const JsonTree& object) {
    if (field.required) refuse_here("required, but absent");
    if (field.type.kind == Kind::Union && union_type(field, object).member.kind != Kind::None) {
      refuse_here("absent, but " + field.name + "_type says what it is");
    }
    return 0;
  }

  bool is_struct(const ValueType& type) const { return type.kind == Kind::Obj && schema_.object(type).is_struct; }

  uoffset_t offset(const ValueType& type, const JsonTree& value) {
    if (type.kind == Kind::String) return string(value);
    if (type.kind == Kind::Vector) return vector(type.of_element(), value);
    return table(schema_.object(type), value);
  }

  uoffset_t string(const JsonTree& value) {
    if (!value.is_string()) refuse_kind("a string", value);
    return builder_.CreateString(value.get_ref<const std::string&>()).o;
  }

  const SchemaEnum::Entry& union_type(const SchemaField& field, const JsonTree& object) {
    const auto& names = *schema_.enumeration(field.type);
    const auto at = object.find(field.name + "_type");
    const auto value = at == object.end() || at->is_null() ? 0 : integer<std::uint8_t>(&names, *at);
    const auto* entry = names.find(std::int64_t{value});
    if (entry == nullptr) refuse_here("no member " + std::to_string(value) + " in " + names.name);
    return *entry;
  }

  uoffset_t union_member(const SchemaField& field, const JsonTree& value, const JsonTree& object) {
    const auto& entry = union_type(field, object);
    if (entry.member.kind == Kind::None) refuse_here("which one? say so in " + field.name + "_type");
    if (!is_struct(entry.member)) return offset(entry.member, value);
    push_struct(entry.member, value);
    return builder_.GetSize();
  }

  uoffset_t vector(const ValueType& element, const JsonTree& value) {
    if (!value.is_array()) refuse_kind("an array", value);
    if (is_scalar(element.kind)) return inline_vector(element, flatbuffers::GetTypeSize(element.kind), value);
    if (is_struct(element)) return inline_vector(element, schema_.object(element).align, value);
    std::vector<Offset<void>> elements;
    elements.reserve(value.size());
    for (std::size_t i = 0; i < value.size(); ++i) {
      const Step step(path_, i);
      elements.emplace_back(offset(element, value[i]));
    }
    return builder_.CreateVector(elements).o;
  }

  uoffset_t inline_vector(const ValueType& element, std::size_t align, const JsonTree& value) {
    const auto size = schema_.inline_bytes(element);
    std::vector<std::uint8_t> bytes(size * value.size());
    for (std::size_t i = 0; i < value.size(); ++i) {
      const Step step(path_, i);
      put(element, value[i], bytes.data() + i * size);
    }
    builder_.StartVector(bytes.size() / align, align);
    builder_.PushBytes(bytes.data(), bytes.size());
    return builder_.EndVector(value.size());
  }

  // Writes a scalar, struct or array to where it stands.
  void put(const ValueType& type, const JsonTree& value, std::uint8_t* at) {
    if (type.kind == Kind::Obj) return put_struct(schema_.object(type), value, at);
    if (type.kind == Kind::Array) return put_array(type, value, at);
    visit_scalar(type.kind, [&](auto zero) {
      const auto number = scalar<decltype(zero)>(type, value);
      std::memcpy(at, &number, sizeof number);
    });
  }

  void put_struct(const SchemaObject& object, const JsonTree& value, std::uint8_t* at) {
    check_members(object, value);
    for (const auto& field : object.fields) {
      const Step step(path_, field.name);
      const auto* field_value = member(field, value);
      if (field_value == nullptr) refuse_here("absent; a struct needs all of its fields");
      put(field.type, *field_value, at + field.offset);
    }
  }

  void put_array(const ValueType& type, const JsonTree& value, std::uint8_t* at) {
    if (!value.is_array() || value.size() != type.length) {
      refuse_kind(("an array of " + std::to_string(type.length)).c_str(), value);
    }
    const auto size = schema_.inline_bytes(type.of_element());
    for (std::size_t i = 0; i < value.size(); ++i) {
      const Step step(path_, i);
      put(type.of_element(), value[i], at + i * size);
    }
  }

  void push_struct(const ValueType& type, const JsonTree& value) {
    const auto& object = schema_.object(type);
    std::vector<std::uint8_t> bytes(object.bytes);
    put_struct(object, value, bytes.data());
    builder_.Align(object.align);
    builder_.PushBytes(bytes.data(), bytes.size());
  }

  void add_structs(const SchemaObject& object, const JsonTree& value) {
    for (const auto& field : object.fields) {
      const auto* field_value = member(field, value);
      if (field_value == nullptr || !is_struct(field.type)) continue;
      const Step step(path_, field.name);
      push_struct(field.type, *field_value);
      builder_.AddStructOffset(field.offset, builder_.GetSize());
    }
  }

  void add_scalars(const SchemaObject& object, const JsonTree& value, std::size_t bytes) {
    for (const auto& field : object.fields) {
      if (!is_scalar(field.type.kind) || flatbuffers::GetTypeSize(field.type.kind) != bytes) continue;
      if (const auto* field_value = member(field, value)) add_scalar(field, *field_value);
    }
  }

  void add_scalar(const SchemaField& field, const JsonTree& value) {
    const Step step(path_, field.name);
    visit_scalar(field.type.kind, [&](auto zero) {
      using T = decltype(zero);
      const auto number = scalar<T>(field.type, value);
      if (field.optional) return builder_.AddElement<T>(field.offset, number);
      const auto absent = std::is_floating_point_v<T> ? static_cast<T>(field.default_real) : static_cast<T>(field.default_integer);
      builder_.AddElement<T>(field.offset, number, absent);
    });
  }

  template <typename T>
  T scalar(const ValueType& type, const JsonTree& value) {
    if constexpr (std::is_floating_point_v<T>) {
      return real<T>(value);
    } else {
      if (type.kind == Kind::Bool) return static_cast<T>(boolean(value));
      return integer<T>(schema_.enumeration(type), value);
    }
  }

  bool boolean(const JsonTree& value) const {
    if (!value.is_boolean()) refuse_kind("true or false", value);
    return value.get<bool>();
  }

  template <typename T>
  T real(const JsonTree& value) const {
    if (value.is_string()) return static_cast<T>(not_finite(value));
    if (!value.is_number()) refuse_kind("a number", value);
    const auto number = value.get<double>();
    if (std::abs(number) > std::numeric_limits<T>::max()) refuse_kind("a number that fits 32 bits", value);
    return static_cast<T>(number);
  }

  // JSON has no way to write these three; a string stands for them, both ways.
  double not_finite(const JsonTree& value) const {
    const auto& name = value.get_ref<const std::string&>();
    if (name == "nan") return std::numeric_limits<double>::quiet_NaN();
    if (name == "inf") return std::numeric_limits<double>::infinity();
    if (name == "-inf") return -std::numeric_limits<double>::infinity();
    refuse_kind("a number", value);
  }

  template <typename T>
  T integer(const SchemaEnum* names, const JsonTree& value) const {
    if (names != nullptr && value.is_string()) return static_cast<T>(named(*names, value).value);
    if (value.is_string()) return parsed<T>(value);
    if (!value.is_number_integer()) refuse_kind(names != nullptr ? "a name or an integer" : "an integer", value);
    const bool fits = value.is_number_unsigned() ? std::in_range<T>(value.get<std::uint64_t>())
                                                 : std::in_range<T>(value.get<std::int64_t>());
    if (!fits) refuse_range<T>(value);
    return value.get<T>();
  }

  const SchemaEnum::Entry& named(const SchemaEnum& names, const JsonTree& value) const {
    if (const auto* entry = names.find(std::string_view(value.get_ref<const std::string&>()))) return *entry;
    std::string known;
    for (const auto& entry : names.entries) known += (known.empty() ? "" : ", ") + entry.name;
    refuse_here("no " + shown(value) + " in " + names.name + "; it has " + known);
  }

  // 64-bit integers as strings: JavaScript cannot hold them as numbers, so its programs send them like this.
  template <typename T>
  T parsed(const JsonTree& value) const {
    const auto& text = value.get_ref<const std::string&>();
    std::conditional_t<std::is_unsigned_v<T>, std::uint64_t, std::int64_t> number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (sizeof(T) < 8 || error != std::errc{} || end != text.data() + text.size()) refuse_kind("an integer", value);
    return static_cast<T>(number);
  }

  template <typename T>
  [[noreturn]] void refuse_range(const JsonTree& value) const {
    refuse_kind(("an integer from " + std::to_string(std::numeric_limits<T>::min()) + " to " +
                 std::to_string(std::numeric_limits<T>::max())).c_str(), value);
  }

  const PayloadSchema& schema_;
  flatbuffers::FlatBufferBuilder builder_;
  std::string path_;
  unsigned depth_ = 0;
};

}  // namespace

Result<std::vector<std::uint8_t>> json_to_payload(const PayloadSchema& schema, std::string_view json) {
  try {
    auto payload = Encoder(schema).encode(parse(json));
    if (payload.size() > limits::event_bytes_max) {
      return Error{Code::event_too_large, "the payload has " + std::to_string(payload.size()) + " bytes; an event may have " +
                                              std::to_string(limits::event_bytes_max)};
    }
    if (!schema.verify(payload)) {
      return Error{Code::bad_payload, "more than " + std::to_string(limits::verifier_tables_max) + " tables; split it into several events"};
    }
    return payload;
  } catch (Refused& refused) {
    return Error{refused.code, std::move(refused.detail)};
  }
}

}  // namespace bus::tools
