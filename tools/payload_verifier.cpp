// flatbuffers::Verify() is meant for the same and is not used: in 2.0.8, and in later ones, it follows the offset of a
// sub-table or union before it has checked that the field lies within the buffer, so that one damaged byte of a
// vtable makes it read up to 64 KiB beyond the end.
#include "tools/payload_verifier.hpp"

#include "base/limits.hpp"

namespace bus::tools {

namespace {

using flatbuffers::Table;
using flatbuffers::uoffset_t;
using flatbuffers::voffset_t;

class PayloadVerifier {
 public:
  PayloadVerifier(const PayloadSchema& schema, Bytes payload)
      : schema_(schema), payload_(payload),
        verifier_(payload.data(), payload.size(), limits::verifier_depth_max, limits::verifier_tables_max) {}

  bool verify() {
    if (payload_.size() < 2 * sizeof(uoffset_t) || payload_.size() >= FLATBUFFERS_MAX_BUFFER_SIZE) return false;
    const auto offset = verifier_.VerifyOffset(0);
    return offset != 0 && table(schema_.root(), payload_.data() + offset);
  }

 private:
  bool table(const SchemaObject& object, const std::uint8_t* at) {
    const auto& table = *reinterpret_cast<const Table*>(at);
    if (!table.VerifyTableStart(verifier_)) return false;
    for (const auto& each : object.fields) {
      if (!field(each, table)) return false;
    }
    return verifier_.EndTable();
  }

  bool is_struct(const ValueType& type) const { return type.kind == Kind::Obj && schema_.object(type).is_struct; }

  bool field(const SchemaField& field, const Table& table) {
    if (!table.CheckField(field.offset)) return !field.required;
    if (is_scalar(field.type.kind)) {
      return visit_scalar(field.type.kind, [&](auto zero) {
        return table.VerifyField<decltype(zero)>(verifier_, field.offset, sizeof zero);
      });
    }
    const auto* at = table.GetAddressOf(field.offset);
    if (is_struct(field.type)) return inlined(at, schema_.object(field.type).bytes, schema_.object(field.type).align);
    const auto* target = follow(at);
    if (target == nullptr) return false;
    return field.type.kind == Kind::Union ? union_member(field, table, target) : value(field.type, target);
  }

  std::size_t place(const std::uint8_t* at) const { return static_cast<std::size_t>(at - payload_.data()); }

  bool inlined(const std::uint8_t* at, std::size_t bytes, std::size_t align) const {
    return verifier_.VerifyAlignment(place(at), align) && verifier_.Verify(place(at), bytes);
  }

  // Where the offset at `at` leads, or null if it or that is outside.
  const std::uint8_t* follow(const std::uint8_t* at) const {
    const auto offset = verifier_.VerifyOffset(place(at));
    return offset == 0 ? nullptr : at + offset;
  }

  bool value(const ValueType& type, const std::uint8_t* at) {
    if (type.kind == Kind::String) return verifier_.VerifyString(reinterpret_cast<const flatbuffers::String*>(at));
    if (type.kind == Kind::Vector) return vector(type.of_element(), at);
    return table(schema_.object(type), at);
  }

  // The type of a union stands in the field before it.
  bool union_member(const SchemaField& field, const Table& table, const std::uint8_t* at) {
    const auto type_field = static_cast<voffset_t>(field.offset - sizeof(voffset_t));
    if (!table.VerifyField<std::uint8_t>(verifier_, type_field, 1)) return false;
    const auto type = table.GetField<std::uint8_t>(type_field, 0);
    const auto* entry = schema_.enumeration(field.type)->find(std::int64_t{type});
    if (entry == nullptr || entry->member.kind == Kind::None) return true;
    if (is_struct(entry->member)) return inlined(at, schema_.object(entry->member).bytes, schema_.object(entry->member).align);
    return value(entry->member, at);
  }

  bool vector(const ValueType& element, const std::uint8_t* at) {
    const bool scalar = is_scalar(element.kind);
    if (!scalar && !is_struct(element)) return vector_of_offsets(element, at);
    const auto bytes = schema_.inline_bytes(element);
    const auto align = scalar ? bytes : schema_.object(element).align;
    return verifier_.VerifyVectorOrString(at, bytes) && verifier_.VerifyAlignment(place(at) + sizeof(uoffset_t), align);
  }

  bool vector_of_offsets(const ValueType& element, const std::uint8_t* at) {
    if (!verifier_.VerifyVectorOrString(at, sizeof(uoffset_t))) return false;
    const auto size = flatbuffers::ReadScalar<uoffset_t>(at);
    // An honest payload has room for each of its offsets; one vector referred to by a thousand tables would keep us
    // busy for a second.
    offsets_ += size;
    if (offsets_ > payload_.size()) return false;
    for (uoffset_t i = 0; i < size; ++i) {
      const auto* target = follow(at + sizeof(uoffset_t) * (i + 1));
      if (target == nullptr || !value(element, target)) return false;
    }
    return true;
  }

  const PayloadSchema& schema_;
  Bytes payload_;
  flatbuffers::Verifier verifier_;
  std::size_t offsets_ = 0;
};

}  // namespace

bool verify_payload(const PayloadSchema& schema, Bytes payload) { return PayloadVerifier(schema, payload).verify(); }

}  // namespace bus::tools
