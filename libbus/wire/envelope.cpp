// Every event passes through here. The generated verifier is a tree of small checks, of which most are for fields that
// are absent; it takes twice the instructions of one pass that knows the table. So PlainEnvelope makes that pass, over
// events without attributes, and accepts only what it has checked as the generated verifier would have; all else goes
// the long way, which also knows what to say of an error.
#include "wire/envelope.hpp"

#include "base/limits.hpp"
#include "wire/event_codec.hpp"

namespace bus::wire {

namespace {

// Field numbers of schemas/event.fbs.
enum class Field : std::size_t {
  topic, type, key, id, source, subject, time, priority, encoding, correlation_id, causation_id, traceparent, dataschema,
  attributes, payload, deliver_at, expires_at
};

// Reads a size-prefixed Event without trusting a byte of it. Offsets count from the start of the size; each read is
// bounded before it is made. FlatBuffers' internals document gives the layout: a table begins with the distance back to
// its vtable, which has its own size, the table's, and for each field the offset within the table, 0 where it is absent.
class PlainEnvelope {
 public:
  explicit PlainEnvelope(Bytes event) : data_(event.data()), size_(load<std::uint32_t>(event.data()) + std::size_t{4}) {}

  // False: go the long way.
  [[gnu::flatten]] bool read(Envelope& envelope) {
    std::string_view id;
    std::size_t payload_at = 0;
    return open_table() && has_required(Field::topic, envelope.topic) && has_required(Field::type, envelope.type) &&
           has_required(Field::id, id) && !id.empty() && id.size() <= limits::id_bytes_max &&
           has_key(envelope) && has_short(Field::source) && has_short(Field::subject) && has_short(Field::correlation_id) &&
           has_short(Field::causation_id) && has_short(Field::traceparent) && has_short(Field::dataschema) &&
           has_numbers(envelope) && is_absent(Field::encoding) && is_absent(Field::attributes) &&
           is_absent(Field::deliver_at) && is_absent(Field::expires_at) &&
           (payload_at = place_of(Field::payload)) != 0 && has_vector(payload_at, 0, envelope.payload);
  }

 private:
  // Within the event, and aligned, as FlatBuffers' own verifier has it.
  template <typename T>
  bool fits(std::size_t at) const {
    return at % sizeof(T) == 0 && at < size_ - sizeof(T);
  }

  bool open_table() {
    if (size_ < 16 || size_ > limits::event_bytes_max + 4) return false;
    table_ = 4 + std::size_t{load<std::uint32_t>(data_ + 4)};
    if (!fits<std::int32_t>(table_)) return false;
    vtable_ = table_ - static_cast<std::size_t>(std::ptrdiff_t{load<std::int32_t>(data_ + table_)});  // wraps round if it is wrong
    if (!fits<std::uint16_t>(vtable_)) return false;
    vtable_bytes_ = load<std::uint16_t>(data_ + vtable_);
    return vtable_bytes_ % 2 == 0 && vtable_bytes_ < size_ - vtable_;
  }
  // 0: the field is absent.
  std::size_t place_of(Field field) const {
    const auto slot = 4 + 2 * static_cast<std::size_t>(field);
    const std::size_t offset = slot < vtable_bytes_ ? load<std::uint16_t>(data_ + vtable_ + slot) : 0;
    return offset == 0 ? 0 : table_ + offset;
  }
  bool is_absent(Field field) const { return place_of(field) == 0; }
  // Bytes behind the offset that is at `at`. `ending`: how many more follow, the zero of a string.
  bool has_vector(std::size_t at, std::size_t ending, Bytes& bytes) const {
    if (!fits<std::uint32_t>(at)) return false;
    const std::size_t distance = load<std::uint32_t>(data_ + at);
    const auto begin = at + distance;
    if (distance == 0 || !fits<std::uint32_t>(begin)) return false;
    const std::size_t count = load<std::uint32_t>(data_ + begin);
    bytes = {data_ + begin + 4, count};
    return count + ending <= size_ - begin - 4;
  }
  bool has_text(std::size_t at, std::string_view& text) const {
    Bytes bytes;
    if (!has_vector(at, 1, bytes)) return false;
    text = text_of(bytes);
    return bytes.data()[bytes.size()] == 0;
  }
  bool has_required(Field field, std::string_view& text) const {
    const auto at = place_of(field);
    return at != 0 && has_text(at, text);
  }
  bool has_key(Envelope& envelope) const {
    const auto at = place_of(Field::key);
    envelope.has_key = at != 0;
    return at == 0 || (has_text(at, envelope.key) && !envelope.key.empty() && envelope.key.size() <= limits::key_bytes_max);
  }
  bool has_short(Field field) const {
    std::string_view words;
    const auto at = place_of(field);
    return at == 0 || (has_text(at, words) && words.size() <= limits::text_bytes_max);
  }
  bool has_numbers(Envelope& envelope) const {
    const auto time_at = place_of(Field::time), priority_at = place_of(Field::priority);
    if (time_at != 0 && !fits<std::int64_t>(time_at)) return false;
    if (priority_at == 0) return true;
    if (!fits<Priority>(priority_at)) return false;
    envelope.priority = load<Priority>(data_ + priority_at);
    return envelope.priority <= Priority::low;
  }

  const std::uint8_t* data_;
  std::size_t size_, table_ = 0, vtable_ = 0, vtable_bytes_ = 0;
};

}  // namespace

bool read_plain_envelope(Bytes event, Envelope& envelope) { return PlainEnvelope(event).read(envelope); }

Result<void> read_envelope(Bytes event, Envelope& envelope) {
  if (read_plain_envelope(event, envelope)) return {};
  const auto checked = check_event(event);
  if (!checked) return checked.error();
  const Event& found = **checked;
  const auto* key = found.key();
  envelope = {found.topic()->string_view(), found.type()->string_view(), key != nullptr ? key->string_view() : std::string_view(),
              key != nullptr, found.priority(), found.deliver_at(), found.expires_at(), {found.payload()->data(), found.payload()->size()}};
  return {};
}

}  // namespace bus::wire
