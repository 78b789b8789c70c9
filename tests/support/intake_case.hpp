// The fixture of the tests that publish: a broker by hand, and a session that publishes as `alpha`.
#pragma once

#include <gtest/gtest.h>

#include "tests/support/harness.hpp"

namespace bus::test {

class IntakeTest : public ::testing::Test {
 protected:
  IntakeTest() { bus.hello("p", "alpha"); }
  wire::PublishResultT result(const broker::Peer& peer = "p") {
    auto results = bus.take<wire::PublishResultT>(peer);
    return results.empty() ? wire::PublishResultT() : std::move(results.back());
  }
  wire::WelcomeT welcome(const broker::Peer& peer, const std::string& publisher) {
    wire::HelloT hello;
    hello.protocol = wire::protocol_version;
    hello.publisher = publisher;
    bus.send(peer, hello);
    bus.run();
    return std::move(bus.take<wire::WelcomeT>(peer).at(0));
  }
  const Buffer good = encode(event("a.b"));
  Buffer bad = encode(event("a..b"));
  Harness bus;
};

}  // namespace bus::test
