#include "tools/log_verify.hpp"

#include <memory>

#include "broker/store/store.hpp"
#include "tools/cli.hpp"

namespace bus::tools {

namespace {

constexpr std::size_t slice_bytes = 64u << 20;

}  // namespace

SliceVerifier verify_online(Client& client) {
  return [&client](Position from, std::uint64_t chain) {
    wire::LogVerifyT request;
    request.from = number(from);
    request.chain = chain;
    const auto reply = ask<wire::VerifyReplyT>(client, std::move(request));
    LogSlice slice{Position{reply.next}, reply.chain, reply.records, reply.events, Position{reply.last}, {}};
    for (const auto& fault : reply.faults) slice.faults.push_back({Position{fault->position}, fault->what});
    return slice;
  };
}

SliceVerifier verify_offline(const std::filesystem::path& dir) {
  const std::shared_ptr<store::Store> log = store::Store::open_read_only(dir).value();
  const std::shared_ptr<store::LogReader> reader = log->reader();
  return [log, reader](Position from, std::uint64_t chain) {
    auto found = reader->verify(from, chain, slice_bytes).value();
    LogSlice slice{found.next, found.chain, found.records, found.events, log->head().committed, {}};
    for (auto& fault : found.faults) slice.faults.push_back({fault.position, std::move(fault.what)});
    return slice;
  };
}

}  // namespace bus::tools
