#include "wire/payload_verifier.hpp"

#include <flatbuffers/reflection.h>

#include <algorithm>
#include <bit>
#include <span>

namespace bus::wire {

// ---- from a schema

// Compiler follows no number of a schema before it has looked at it.
class PayloadVerifier::Compiler {
 public:
  explicit Compiler(const reflection::Schema& schema) : schema_(schema) {}

  Result<PayloadVerifier> compile() {
    for (const auto* object : *schema_.objects()) {
      if (auto added = add(*object); !added) return added.error();
    }
    for (const auto* one : *schema_.enums()) {
      if (!add(*one)) return Error{Code::bad_format, "union " + one->name()->str() + " is not as flatc writes it"};
    }
    return std::move(made_);
  }

 private:
  using BaseType = reflection::BaseType;

  static bool is_scalar(BaseType base) { return base >= reflection::UType && base <= reflection::Double; }

  // Null: the schema has none of this number.
  const reflection::Object* object(int index) const {
    const auto at = static_cast<flatbuffers::uoffset_t>(index);
    return index >= 0 && at < schema_.objects()->size() ? schema_.objects()->Get(at) : nullptr;
  }

  bool is_union(int index) const {
    const auto at = static_cast<flatbuffers::uoffset_t>(index);
    return index >= 0 && at < schema_.enums()->size() && schema_.enums()->Get(at)->is_union();
  }

  Result<void> add(const reflection::Object& object) {
    const auto begin = made_.fields_.size();
    if (!object.is_struct()) {
      for (const auto* field : *object.fields()) {
        const auto made = field_of(*field);
        if (made.value.kind == Kind::none) {
          return Error{Code::bad_format, "field " + object.name()->str() + "." + field->name()->str() + " is not as flatc writes it, or is a vector of unions"};
        }
        made_.fields_.push_back(made);
      }
    }
    const auto by_slot = [](const Field& a, const Field& b) { return a.slot < b.slot; };
    std::sort(made_.fields_.begin() + static_cast<std::ptrdiff_t>(begin), made_.fields_.end(), by_slot);
    made_.tables_.push_back({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(made_.fields_.size())});
    return {};
  }

  // Of kind none: it cannot be verified.
  Field field_of(const reflection::Field& field) const {
    const auto& type = *field.type();
    const bool has_slot = field.offset() >= 4 && field.offset() % 2 == 0;
    if (!has_slot) return {};
    Value value = type.base_type() == reflection::Vector ? vector_of(type) : value_of(type.base_type(), type.index());
    // What it holds stands in the slot before.
    if (type.base_type() == reflection::Union && is_union(type.index()) && field.offset() >= 6) value = {Kind::one_of, 3, 0, static_cast<std::uint32_t>(type.index())};
    return {value, field.offset(), field.required()};
  }

  // None: no such value stands in a table by itself.
  Value value_of(BaseType base, int index) const {
    if (is_scalar(base)) {
      const auto bytes = flatbuffers::GetTypeSize(base);
      return {Kind::inlined, static_cast<std::uint16_t>(bytes - 1), static_cast<std::uint32_t>(bytes)};
    }
    if (base == reflection::String) return {Kind::string};
    const auto* target = base == reflection::Obj ? object(index) : nullptr;
    if (target == nullptr) return {};
    if (!target->is_struct()) return {Kind::table, 3, 0, static_cast<std::uint32_t>(index)};
    const bool is_sound = target->bytesize() > 0 && target->bytesize() <= 0xffff && target->minalign() <= 0xff && std::has_single_bit(static_cast<std::uint32_t>(target->minalign()));
    if (!is_sound) return {};
    return {Kind::inlined, static_cast<std::uint16_t>(target->minalign() - 1), static_cast<std::uint32_t>(target->bytesize())};
  }

  Value vector_of(const reflection::Type& type) const {
    Value value = value_of(type.element(), type.index());
    switch (value.kind) {
      case Kind::inlined: value.kind = type.element() == reflection::UType ? Kind::none : Kind::inlines; break;
      case Kind::string: value.kind = Kind::strings; break;
      case Kind::table: value.kind = Kind::tables; break;
      default: value.kind = Kind::none;
    }
    return value;
  }

  // A union's value names a member by its place: 0, which is none, 1, 2, …
  bool add(const reflection::Enum& one) {
    const auto begin = made_.members_.size();
    if (one.is_union()) {
      for (const auto* member : *one.values()) {
        const auto* type = member->union_type();
        if (member->value() != static_cast<std::int64_t>(made_.members_.size() - begin) || type == nullptr) return false;
        const auto value = value_of(type->base_type(), type->index());
        if ((value.kind == Kind::none) != (member->value() == 0)) return false;
        made_.members_.push_back(value);
      }
    }
    made_.unions_.push_back({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(made_.members_.size())});
    return true;
  }

  const reflection::Schema& schema_;
  PayloadVerifier made_;
};

Result<PayloadVerifier> PayloadVerifier::compile(const reflection::Schema& schema) { return Compiler(schema).compile(); }

// ---- through a payload

// Pass goes once through one payload. Places count from its first byte; each read is bounded before it is made. Nothing is
// handed on by its address, which would cost a stack protector in each of these small functions.
class PayloadVerifier::Pass {
 public:
  Pass(const PayloadVerifier& schema, Bytes payload, Members members)
      : schema_(schema), data_(payload.data()), size_(payload.size()), members_(members) {}

  bool root(std::size_t type) {
    const auto at = target(0);
    return at != 0 && table(type, at);
  }

 private:
  static constexpr std::size_t unsound = ~std::size_t{0};

  struct Table {
    std::size_t at, vtable, vtable_bytes;
  };

  bool has(std::size_t at, std::size_t bytes) const { return bytes <= size_ && at <= size_ - bytes; }
  template <typename T>
  bool has(std::size_t at) const {
    return at % sizeof(T) == 0 && has(at, sizeof(T));
  }

  // Where the offset at `at` leads; 0: nowhere.
  std::size_t target(std::size_t at) const {
    if (!has<std::uint32_t>(at)) return 0;
    const std::size_t offset = load<std::uint32_t>(data_ + at);
    return offset != 0 && offset < size_ - at ? at + offset : 0;
  }

  bool table(std::size_t type, std::size_t at) {
    if (++tables_ > limits::verifier_tables_max || depth_ == limits::verifier_depth_max || !has<std::int32_t>(at)) return false;
    Table table{at, at - static_cast<std::size_t>(std::ptrdiff_t{load<std::int32_t>(data_ + at)}), 0};  // wraps round if it is wrong
    if (!has<std::uint16_t>(table.vtable)) return false;
    table.vtable_bytes = load<std::uint16_t>(data_ + table.vtable);
    if (table.vtable_bytes % 2 != 0 || !has(table.vtable, table.vtable_bytes)) return false;
    ++depth_;
    const Range range = schema_.tables_[type];
    const std::span fields(schema_.fields_.data() + range.begin, range.end - range.begin);
    for (const Field& one : fields) {
      const auto place = place_of(one.slot, table);
      if (place == 0 ? !may_be_absent(one, table) : !field(one, table, place)) return false;
    }
    --depth_;
    return true;
  }

  // 0: nothing is there.
  std::size_t place_of(std::size_t slot, Table table) const {
    const std::size_t offset = slot < table.vtable_bytes ? load<std::uint16_t>(data_ + table.vtable + slot) : 0;
    return offset == 0 ? 0 : table.at + offset;
  }

  bool may_be_absent(const Field& field, Table table) {
    return !field.is_required && (field.value.kind != Kind::one_of || one_of(field, table, 0));
  }

  bool field(const Field& field, Table table, std::size_t at) {
    if (field.value.kind == Kind::inlined) return inlined(field.value, at);
    at = target(at);
    if (at == 0) return false;
    return field.value.kind == Kind::one_of ? one_of(field, table, at) : value(field.value, at);
  }

  bool inlined(const Value& value, std::size_t at) const { return (at & value.align_mask) == 0 && has(at, value.bytes); }

  bool value(const Value& value, std::size_t at) {
    switch (value.kind) {
      case Kind::inlined: return inlined(value, at);
      case Kind::string: return string(at);
      case Kind::table: return table(value.index, at);
      case Kind::inlines: return inlines(value, at);
      default: return offsets(value, at);
    }
  }

  // Of elements of so many bytes, all of which are there.
  std::size_t count_of(std::size_t at, std::size_t bytes) const {
    if (!has<std::uint32_t>(at)) return unsound;
    const std::size_t count = load<std::uint32_t>(data_ + at);
    return has(at + 4, count * bytes) ? count : unsound;
  }

  bool string(std::size_t at) const {
    const auto count = count_of(at, 1);
    return count != unsound && has(at + 4 + count, 1) && data_[at + 4 + count] == 0;
  }

  bool inlines(const Value& value, std::size_t at) const {
    const auto count = count_of(at, value.bytes);
    return count != unsound && (count == 0 || ((at + 4) & value.align_mask) == 0);
  }

  bool offsets(const Value& one, std::size_t at) {
    const auto count = count_of(at, 4);
    if (count == unsound) return false;
    offsets_ += count;
    if (offsets_ > offsets_max) return false;
    for (std::size_t number = 1; number <= count; ++number) {
      const auto element = target(at + 4 * number);
      if (element == 0) return false;
      if (one.kind == Kind::strings ? !string(element) : !table(one.index, element)) return false;
    }
    return true;
  }

  // `at`: where the value is; 0: there is none.
  bool one_of(const Field& field, Table table, std::size_t at) {
    const auto type_at = place_of(field.slot - 2u, table);
    if (type_at != 0 && !has(type_at, 1)) return false;
    const std::size_t type = type_at == 0 ? 0 : data_[type_at];
    if (type == 0) return true;
    const Range members = schema_.unions_[field.value.index];
    if (type >= members.end - members.begin) return members_ == Members::any;
    const Value& member = schema_.members_[members.begin + type];
    if (at == 0) return members_ == Members::any || member.kind == Kind::string;
    return value(member, at);
  }

  const PayloadVerifier& schema_;
  const std::uint8_t* data_;
  std::size_t size_;
  Members members_;
  std::size_t tables_ = 0, depth_ = 0, offsets_ = 0;
};

bool PayloadVerifier::verify(std::size_t table, Bytes payload, Members members) const { return Pass(*this, payload, members).root(table); }

}  // namespace bus::wire
