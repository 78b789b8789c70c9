// Goal: whoever floods the broker leaves room for others; and nobody is held back while there is enough.
// Method: a broker whose commit does not end, so that nothing is answered and all that is taken stays.
#include <gtest/gtest.h>

#include "tests/support/harness.hpp"

namespace bus::broker {
namespace {

using test::encode;
using test::event;
using test::Harness;

Buffer large_event() {
  auto large = event("a.b");
  large.payload = test::notification(std::string(limits::MiB - 1000, 'x'));
  return encode(large);
}

class ShareTest : public ::testing::Test {
 protected:
  // `staged_bytes`: what the disk lets be staged.
  void start(std::size_t staged_bytes, const std::vector<Peer>& peers) {
    bus.crash();
    bus.hello("first", "first");
    for (const Peer& peer : peers) bus.hello(peer, peer);
    next_.clear();
    bus.publish("first", 1, {encode(event())});
    ASSERT_TRUE(bus.take());
    store::Space space;
    space.free_bytes = 1 * limits::MiB + staged_bytes / 3 * 4;  // of which the harness keeps 1 MiB in reserve
    bus.core->set_space(space);
    used_ = 0;
  }
  // Sends a batch; true if it was taken.
  bool send(const Peer& peer, std::size_t events = 1) {
    auto& next = next_.try_emplace(peer, 1).first->second;
    bus.publish(peer, next, std::vector<Buffer>(events, large_));
    const auto failures = bus.failures(peer);
    EXPECT_TRUE(failures.empty() || failures == std::vector<Code>{Code::busy});
    if (!failures.empty()) return false;
    next += events;
    used_ += events * large_.size();
    return true;
  }
  const Buffer large_ = large_event();
  const std::size_t window_events_ = limits::window_bytes / large_.size();
  std::map<Peer, std::uint64_t> next_;
  std::size_t used_ = 0;
  Harness bus;
};

TEST_F(ShareTest, OnePublisherAloneHasItsWholeWindow) {
  // The least there is with the settings a broker has by default, and the most.
  for (const std::size_t staged : {limits::fill_ahead_bytes / 2 / 4 * 3, limits::staged_bytes_max}) {
    start(staged, {"p"});
    for (std::size_t at = 0; at < window_events_; ++at) ASSERT_TRUE(send("p")) << at << " of " << staged;
    EXPECT_FALSE(send("p"));
  }
}

TEST_F(ShareTest, AFewPublishersHaveTheirWholeWindows) {
  start(limits::staged_bytes_max, {"p", "q", "r"});
  for (std::size_t at = 0; at < window_events_; ++at) {
    for (const char* name : {"p", "q", "r"}) ASSERT_TRUE(send(name)) << name << at;
  }
}

TEST_F(ShareTest, FloodingPublishersLeaveRoomForNewcomers) {
  const std::vector<Peer> flood = {"f1", "f2", "f3", "f4", "f5"};
  std::vector<Peer> small, all = flood;
  for (int at = 0; at < 12; ++at) small.push_back("small" + std::to_string(at));
  all.insert(all.end(), small.begin(), small.end());
  start(limits::staged_bytes_max, all);
  for (bool any = true; any;) {
    any = false;
    for (const Peer& peer : flood) any = send(peer) || any;
  }
  EXPECT_LE(used_, limits::shared_bytes(limits::staged_bytes_max));
  EXPECT_GT(used_, limits::staged_bytes_max * 3 / 4) << "and do not leave it unused";
  for (const Peer& peer : flood) EXPECT_GT(next_.at(peer), window_events_ / 2) << "each has about the same";

  const std::size_t batches = limits::staged_bytes_max / limits::newcomers_part / limits::batch_bytes_max;
  std::size_t taken = 0;
  while (taken < small.size() && send(small[taken], 2)) ++taken;
  EXPECT_GE(taken, batches);
  EXPECT_LT(taken, small.size()) << "there is an end to it";
  EXPECT_LE(used_ + encode(event()).size(), limits::staged_bytes_max);
  for (const Peer& peer : flood) EXPECT_FALSE(send(peer));
  EXPECT_FALSE(send(small[0]));
}

}  // namespace
}  // namespace bus::broker
