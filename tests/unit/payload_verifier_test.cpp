// Goal: a payload of a type that has no generated code is taken exactly if it is sound by its schema, and no byte outside of it is
// read.
// Method: random payloads (the seed is printed) of schemas with fields of every shape; each as it is, cut off everywhere, and with
// each of its bytes changed. The verifier of flatbuffers, on a copy with room behind, is a second opinion: what we take it takes,
// and where it takes more, a walk through the payload must find one of the reasons that we have.
#include "wire/payload_verifier.hpp"

#include <gtest/gtest.h>

#include <array>
#include <iostream>
#include <set>

#include "base/limits.hpp"
#include "tests/support/random_payload.hpp"
#include "tests/support/schemas.hpp"

namespace bus::wire {
namespace {

using flatbuffers::uoffset_t;
using Members = PayloadVerifier::Members;
using test::RandomPayload;
using test::SchemaText;

constexpr const char* shapes = R"(
  enum Colour : ubyte { red = 0, blue = 5 }
  struct Point { x: float; grid: [short:3]; at: long; }
  struct Line { from: Point; to: Point; colour: Colour; }
  table Leaf { name: string (required); number: double; }
  table Branch { leaves: [Leaf]; next: Branch; points: [Point] (required); }
  union Either { Leaf, text: string, Branch, Line }
  table T {
    flag: bool; small: byte; short: ushort; number: int = 7; big: ulong; real: double; maybe: float = null; colour: Colour = red;
    old: string (deprecated);
    text: string; line: Line; branch: Branch; either: Either; other: Either (required);
    bytes: [ubyte]; shorts: [short]; doubles: [double]; texts: [string]; colours: [Colour]; lines: [Line]; branches: [Branch];
  }
  root_type T;)";

constexpr const char* plain = "table T { id: string (required); number: double; tags: [string]; inner: T; } root_type T;";

// A schema as both verifiers know it.
struct Verified {
  explicit Verified(const char* text) : schema(text), ours(PayloadVerifier::compile(*schema).value()) {
    for (uoffset_t at = 0; at < (*schema).objects()->size(); ++at) {
      if ((*schema).objects()->Get(at) == (*schema).root_table()) root = at;
    }
  }
  const reflection::Object& type() const { return *(*schema).root_table(); }
  Buffer write(const std::string& json) {
    EXPECT_TRUE(schema.parser().ParseJson(json.c_str())) << schema.parser().error_ << json;
    return copy_of(Bytes(schema.parser().builder_.GetBufferPointer(), schema.parser().builder_.GetSize()));
  }
  // Of a copy without a byte to spare.
  bool is_taken(Bytes payload, Members members = Members::known) const { return ours.verify(root, copy_of(payload), members); }

  SchemaText schema;
  PayloadVerifier ours;
  std::size_t root = 0;
};

// A payload with zeroes behind: flatbuffers follows offsets of up to 64 KiB before it looks at them.
class Roomy {
 public:
  const std::uint8_t* hold(Bytes payload) {
    if (bytes_.size() < payload.size() + room) bytes_.resize(payload.size() + room);
    std::fill(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(held_), std::uint8_t{0});
    std::copy(payload.begin(), payload.end(), bytes_.begin());
    held_ = payload.size();
    return bytes_.data();
  }

 private:
  static constexpr std::size_t room = 0x10000 + 8;
  std::vector<std::uint8_t> bytes_;
  std::size_t held_ = 0;
};

bool is_taken_by_flatbuffers(const Verified& type, const std::uint8_t* roomy, std::size_t bytes) {
  return bytes >= 8 && flatbuffers::Verify(*type.schema, type.type(), roomy, bytes, limits::verifier_depth_max, limits::verifier_tables_max);
}

// Walk goes through a payload that flatbuffers has accepted, and notes what it does not mind and we do.
class Walk {
 public:
  Walk(const Verified& type, const std::uint8_t* roomy, std::size_t bytes) : schema_(*type.schema), begin_(roomy), bytes_(bytes) {
    const auto* at = target(begin_);
    if (at != nullptr) table(type.type(), at);
  }
  const std::set<std::string>& reasons() const { return reasons_; }

 private:
  const reflection::Object& object(int index) const { return *schema_.objects()->Get(static_cast<uoffset_t>(index)); }
  static bool is_offset(const reflection::Type& type) { return type.base_type() >= reflection::String; }

  // Null: it leads to itself or out of the payload, or stands where none can. It is of a union without a type, or there is nothing
  // in what it leads to: else flatbuffers would mind.
  const std::uint8_t* target(const std::uint8_t* at) {
    const auto offset = flatbuffers::ReadScalar<uoffset_t>(at);
    const auto place = static_cast<std::size_t>(at - begin_);
    if (offset != 0 && place % 4 == 0 && place + 4 <= bytes_ && place + offset < bytes_) return at + offset;
    reasons_.insert("an offset that leads nowhere");
    return nullptr;
  }
  void check_place(const std::uint8_t* at, std::size_t align) {
    if (static_cast<std::size_t>(at - begin_) % align != 0) reasons_.insert("a vector's element or a union's struct is not aligned");
  }

  void table(const reflection::Object& type, const std::uint8_t* at) {
    const auto& table = *reinterpret_cast<const flatbuffers::Table*>(at);
    for (const auto* field : *type.fields()) {
      const auto* place = table.GetAddressOf(field->offset());
      if (place == nullptr && field->required()) reasons_.insert("a required field is missing");
      const bool is_inlined = !is_offset(*field->type()) || (field->type()->base_type() == reflection::Obj && object(field->type()->index()).is_struct());
      if (place == nullptr || is_inlined) continue;
      const auto* value = target(place);
      if (value == nullptr) continue;
      if (field->type()->base_type() == reflection::Obj) this->table(object(field->type()->index()), value);
      if (field->type()->base_type() == reflection::Vector) vector(*field->type(), value);
      if (field->type()->base_type() == reflection::Union) member(*field, table.GetField<std::uint8_t>(static_cast<flatbuffers::voffset_t>(field->offset() - 2), 0), value);
    }
  }

  void member(const reflection::Field& field, std::uint8_t kind, const std::uint8_t* at) {
    if (kind == 0) return;
    const auto& type = *schema_.enums()->Get(static_cast<uoffset_t>(field.type()->index()))->values()->Get(kind)->union_type();
    if (type.base_type() != reflection::Obj) return;
    const auto& target = object(type.index());
    target.is_struct() ? check_place(at, static_cast<std::size_t>(target.minalign())) : table(target, at);
  }

  void vector(const reflection::Type& type, const std::uint8_t* at) {
    const auto count = flatbuffers::ReadScalar<uoffset_t>(at);
    const bool is_struct = type.element() == reflection::Obj && object(type.index()).is_struct();
    if (type.element() < reflection::String || is_struct) {
      if (count > 0) check_place(at + 4, is_struct ? static_cast<std::size_t>(object(type.index()).minalign()) : flatbuffers::GetTypeSize(type.element()));
      return;
    }
    for (uoffset_t each = 0; each < count; ++each) {
      const auto* element = target(at + 4 + 4 * each);
      if (element != nullptr && type.element() == reflection::Obj) table(object(type.index()), element);
    }
  }

  const reflection::Schema& schema_;
  const std::uint8_t* begin_;
  std::size_t bytes_;
  std::set<std::string> reasons_;
};

// How often each came.
struct Opinions {
  int both = 0, none = 0;
  std::set<std::string> reasons;
  Roomy roomy;
};

void compare(const Verified& type, Bytes payload, Opinions& opinions, const std::string& what) {
  const bool ours = type.is_taken(payload);
  const auto* roomy = opinions.roomy.hold(payload);
  const bool theirs = is_taken_by_flatbuffers(type, roomy, payload.size());
  if (ours == theirs) return void(ours ? ++opinions.both : ++opinions.none);
  ASSERT_TRUE(theirs) << "only we take it: " << what << ": " << hexadecimal(payload);
  const Walk walk(type, roomy, payload.size());
  ASSERT_FALSE(walk.reasons().empty()) << "only we refuse it: " << what << ": " << hexadecimal(payload);
  opinions.reasons.insert(walk.reasons().begin(), walk.reasons().end());
}

std::uint64_t random_seed() {
  const char* given = std::getenv("BUS_TEST_SEED");
  const std::uint64_t seed = given != nullptr ? std::stoull(given) : std::random_device{}();
  std::cout << "seed " << seed << " (BUS_TEST_SEED)" << std::endl;
  return seed;
}

TEST(PayloadVerifier, AgreesWithFlatbuffersOnWhateverBecomesOfAPayload) {
  std::mt19937_64 random(random_seed());
  Opinions opinions;
  for (const char* text : {shapes, plain}) {
    Verified type(text);
    for (int round = 0; round < 12; ++round) {
      const auto payload = type.write(RandomPayload(*type.schema, random).table(type.type()));
      ASSERT_TRUE(type.is_taken(payload)) << hexadecimal(payload);
      compare(type, payload, opinions, "whole");
      for (std::size_t bytes = 0; bytes < payload.size(); ++bytes) compare(type, Bytes(payload).first(bytes), opinions, "cut off");
      for (std::size_t at = 0; at < payload.size(); ++at) {
        for (const int change : {1, 2, 4, 8, 16, 32, 64, 128, 255, static_cast<int>(1 + random() % 254)}) {
          Buffer changed = payload;
          changed[at] = static_cast<std::uint8_t>(changed[at] ^ change);
          compare(type, changed, opinions, "byte " + std::to_string(at) + " changed");
        }
        if (HasFatalFailure()) return;
      }
    }
  }
  EXPECT_GT(opinions.both, 1000);
  EXPECT_GT(opinions.none, 1000);
  EXPECT_EQ(opinions.reasons.size(), 3u) << "each of the reasons has come";
}

TEST(PayloadVerifier, MissesWhatIsRequired) {
  Verified type(shapes);
  SchemaText lenient("table Leaf { name: string; } table Branch { leaves: [Leaf]; next: Branch; points: [Leaf]; } union Either { Leaf, text: string, Branch } "
                     "table T { a0: bool; a1: byte; a2: ushort; a3: int; a4: ulong; a5: double; a6: float; a7: ubyte; a8: string; text: string; a10: string; branch: Branch; "
                     "either: Either; other: Either; } root_type T;");
  const auto write = [&](const std::string& json) {
    EXPECT_TRUE(lenient.parser().ParseJson(json.c_str())) << lenient.parser().error_ << json;
    return Bytes(lenient.parser().builder_.GetBufferPointer(), lenient.parser().builder_.GetSize());
  };
  // With what else T has to have.
  const auto with = [&](const std::string& fields) { return write("{" + fields + R"("other_type": "text", "other": "x"})"); };
  EXPECT_TRUE(type.is_taken(with("")));
  EXPECT_FALSE(type.is_taken(write("{}"))) << "a union";
  EXPECT_TRUE(type.is_taken(with(R"("either_type": "Leaf", "either": {"name": "x"}, )")));
  EXPECT_FALSE(type.is_taken(with(R"("either_type": "Leaf", "either": {}, )"))) << "a string, in a union";
  EXPECT_TRUE(type.is_taken(with(R"("branch": {"points": []}, )")));
  EXPECT_FALSE(type.is_taken(with(R"("branch": {}, )"))) << "a vector";
  EXPECT_FALSE(type.is_taken(with(R"("branch": {"points": [], "leaves": [{"name": "x"}, {}]}, )"))) << "a string, in a vector";
}

// Members are 1 to 3 here, and 4 and 5 in a later schema.
TEST(PayloadVerifier, TakesMembersThatItDoesNotKnowOnlyIfItIsTold) {
  Verified type("struct S { i: int; } table A { x: int; } union U { A, text: string, S } table T { u: U; } root_type T;");
  SchemaText later("struct S { i: int; } table A { x: int; } table B { y: string; } union U { A, text: string, S, B } table T { u: U; } root_type T;");
  ASSERT_TRUE(later.parser().ParseJson(R"({"u_type": "B", "u": {"y": "x"}})"));
  const Bytes unknown(later.parser().builder_.GetBufferPointer(), later.parser().builder_.GetSize());
  EXPECT_FALSE(type.is_taken(unknown));
  EXPECT_TRUE(type.is_taken(unknown, Members::any));
  for (const auto& [member, is_taken] : {std::pair{1, false}, {2, true}, {3, false}, {4, false}}) {
    flatbuffers::FlatBufferBuilder builder;
    const auto start = builder.StartTable();
    builder.AddElement<std::uint8_t>(4, static_cast<std::uint8_t>(member), 0);
    builder.Finish(flatbuffers::Offset<flatbuffers::Table>(builder.EndTable(start)));
    const Bytes without_value(builder.GetBufferPointer(), builder.GetSize());
    EXPECT_EQ(type.is_taken(without_value), is_taken) << member;
    EXPECT_EQ(is_taken_by_flatbuffers(type, Roomy().hold(without_value), without_value.size()), is_taken) << member;
    EXPECT_TRUE(type.is_taken(without_value, Members::any)) << member;
  }
}

// T in T in T …, or many of them side by side.
std::string nested(unsigned depth) { return depth == 1 ? R"({"id": ""})" : R"({"id": "", "inner": )" + nested(depth - 1) + "}"; }

TEST(PayloadVerifier, TakesAsManyLevelsAndTablesAsItMay) {
  Verified type(plain);
  EXPECT_TRUE(type.is_taken(type.write(nested(limits::verifier_depth_max))));
  EXPECT_FALSE(type.is_taken(type.write(nested(limits::verifier_depth_max + 1))));
  Verified list("table E {} table T { all: [E]; } root_type T;");
  const auto with = [&](unsigned tables) {
    std::string json = "{}";
    for (unsigned at = 2; at < tables; ++at) json += ", {}";
    return list.write(R"({"all": [)" + json + "]}");
  };
  EXPECT_TRUE(list.is_taken(with(limits::verifier_tables_max)));
  EXPECT_FALSE(list.is_taken(with(limits::verifier_tables_max + 1)));
}

// The tables of a payload share one vector of texts, all of which are the same.
Buffer sharing(unsigned tables, std::size_t texts) {
  flatbuffers::FlatBufferBuilder builder;
  const auto vector = builder.CreateVector(std::vector(texts, builder.CreateString("x")));
  const auto id = builder.CreateString("");
  flatbuffers::Offset<void> table;
  for (unsigned at = 0; at < tables; ++at) {
    const auto start = builder.StartTable();
    builder.AddOffset(4, id);
    builder.AddOffset(8, vector);
    if (at > 0) builder.AddOffset(10, table);
    table = builder.EndTable(start);
  }
  builder.Finish(table);
  return copy_of(Bytes(builder.GetBufferPointer(), builder.GetSize()));
}

TEST(PayloadVerifier, FollowsNoMoreOffsetsThanTheLargestEventHas) {
  const Verified type(plain);
  constexpr auto most = PayloadVerifier::offsets_max;
  EXPECT_TRUE(type.is_taken(sharing(1, most)));
  EXPECT_TRUE(type.is_taken(sharing(8, most / 8)));
  EXPECT_FALSE(type.is_taken(sharing(8, most / 8 + 1)));
}

// The numbers of a schema, one byte after the other, lead somewhere else: it is refused, or what is made of it stays within payloads.
TEST(PayloadVerifier, FollowsNoSchemaAstray) {
  Verified type(shapes);
  const auto payload = type.write(R"({"other_type": "text", "other": "x", "text": "x", "lines": [], "branch": {"points": []}})");
  int refused = 0, compiled = 0;
  for (std::size_t at = 0; at < type.schema.bfbs().size(); ++at) {
    Buffer changed = copy_of(type.schema.bfbs());
    changed[at] ^= 0x11;
    flatbuffers::Verifier sound(changed.data(), changed.size());
    if (!reflection::VerifySchemaBuffer(sound)) continue;
    const auto& schema = *reflection::GetSchema(changed.data());
    const auto made = PayloadVerifier::compile(schema);
    ++(made ? compiled : refused);
    for (std::size_t object = 0; made && object < schema.objects()->size(); ++object) (void)made->verify(object, copy_of(payload));
  }
  EXPECT_GT(refused, 50);
  EXPECT_GT(compiled, 500);
}

TEST(PayloadVerifier, RefusesVectorsOfUnions) {
  const SchemaText schema("table A { x: int; } union U { A } table T { us: [U]; } root_type T;");
  const auto made = PayloadVerifier::compile(*schema);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, Code::bad_format);
  EXPECT_NE(made.error().detail.find("T.us"), std::string::npos) << made.error().detail;
}

}  // namespace
}  // namespace bus::wire
