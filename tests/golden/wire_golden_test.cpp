// Goal: the bytes of every message and of an event stay what they are, and the bytes of yesterday are still understood.
// Method: encode the samples and compare with wire_v1.txt; parse what that file has.
#include <sstream>

#include "tests/golden/golden_file.hpp"
#include "tests/support/samples.hpp"
#include "wire/event_codec.hpp"

namespace bus::testing {
namespace {

std::string text_of_samples() {
  std::string text = "# Messages and one event of protocol version 1, as libbus and busd encode them. See golden_file.hpp.\n";
  for (const auto& [name, frame] : Samples::all()) text += "message " + name + "\n" + hex_lines(text_of(frame));
  const Buffer event = encode_event(sample_event("saga.started", "saga-1"));
  return text + "event\n" + hex_lines(text_of(event));
}

// The frames of the file, with their headings.
std::vector<std::pair<std::string, Buffer>> kept_frames() {
  std::vector<std::pair<std::string, Buffer>> frames;
  std::istringstream file(read_file(golden_path("wire_v1.txt")));
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("#")) continue;
    if (!line.starts_with("  ")) {
      frames.emplace_back(line, Buffer());
    } else {
      const std::string bytes = unhex(line.substr(2));
      frames.back().second.insert(frames.back().second.end(), bytes.begin(), bytes.end());
    }
  }
  return frames;
}

TEST(WireGolden, MessagesAreEncodedAsEver) { expect_golden("wire_v1.txt", text_of_samples()); }

TEST(WireGolden, EveryKindOfMessageIsThere) {
  const std::string text = text_of_samples();
  for (const char* const* name = wire::EnumNamesBody() + 1; *name != nullptr; ++name) {
    EXPECT_NE(text.find("message " + std::string(*name)), std::string::npos) << *name;
  }
  for (const char* const* name = wire::EnumNamesAsk() + 1; *name != nullptr; ++name) {
    EXPECT_NE(text.find("message Request " + std::string(*name) + "\n"), std::string::npos) << *name;
  }
  for (const char* const* name = wire::EnumNamesAnswer() + 1; *name != nullptr; ++name) {
    EXPECT_NE(text.find("message Reply " + std::string(*name) + "\n"), std::string::npos) << *name;
  }
}

TEST(WireGolden, KeptMessagesAreUnderstood) {
  const auto frames = kept_frames();
  const auto samples = Samples::all();
  ASSERT_EQ(frames.size(), samples.size() + 1);
  for (std::size_t at = 0; at < samples.size(); ++at) {
    const auto message = wire::parse(frames[at].second);
    ASSERT_TRUE(message.ok()) << frames[at].first;
    const auto kept = std::unique_ptr<wire::MessageT>((*message)->UnPack());
    const auto now = std::unique_ptr<wire::MessageT>(wire::GetMessage(samples[at].frame.data())->UnPack());
    EXPECT_EQ(kept->body.type, now->body.type);
    flatbuffers::FlatBufferBuilder kept_bytes, now_bytes;
    kept_bytes.Finish(wire::Message::Pack(kept_bytes, kept.get()));
    now_bytes.Finish(wire::Message::Pack(now_bytes, now.get()));
    EXPECT_EQ(text_of(kept_bytes.GetBufferSpan()), text_of(now_bytes.GetBufferSpan())) << frames[at].first;
  }
  const auto event = wire::check_event(frames.back().second);
  ASSERT_TRUE(event.ok());
  EXPECT_EQ((*event)->topic()->string_view(), "saga.started");
  EXPECT_EQ((*event)->payload()->size(), sample_payload("saga-1").size());
}

}  // namespace
}  // namespace bus::testing
