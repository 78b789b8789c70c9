#include "tools/log_verify.hpp"

#include <algorithm>
#include <charconv>
#include <memory>

#include "broker/store/offline.hpp"
#include "broker/store/store.hpp"
#include "tools/cli.hpp"
#include "tools/progress.hpp"

namespace bus::tools {

namespace {

constexpr std::size_t slice_bytes = 64u << 20;
constexpr std::size_t chain_digits = 16;

LogSlice slice_of(const store::VerifySlice& found) {
  LogSlice slice{found.next, found.chain, found.records, found.events, found.last, {}, {}, found.removed, found.trimmed_to};
  for (const auto& range : found.lost) slice.lost.emplace_back(range.first, range.last);
  for (const auto& fault : found.faults) slice.faults.push_back({fault.position, fault.what});
  return slice;
}

}  // namespace

Result<LogHead> parse_head(std::string_view text) {
  const Error bad{Code::bad_argument, "'" + std::string(text) + "' is not POSITION:CHAIN, as `log verify` prints it: 42:00f1a2b3c4d5e6f7"};
  const auto colon = text.find(':');
  if (colon == std::string_view::npos) return bad;
  std::uint64_t position = 0;
  LogHead head;
  const auto parse = [](std::string_view digits, std::uint64_t& value, int base) {
    const auto [after, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    return error == std::errc{} && after == digits.data() + digits.size();
  };
  const auto chain = text.substr(colon + 1);
  if (!parse(text.substr(0, colon), position, 10) || chain.size() != chain_digits || !parse(chain, head.chain, 16)) return bad;
  head.position = Position{position};
  return head;
}

std::string show_chain(std::uint64_t chain) {
  char text[chain_digits + 1];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(chain));
  return text;
}

std::string show_head(const LogHead& head) { return std::to_string(number(head.position)) + ":" + show_chain(head.chain); }

LogFindings verify_all(const SliceVerifier& verify) {
  LogFindings found;
  Progress progress("verified", 0);
  LogSlice slice;
  do {
    slice = verify(slice.next, slice.chain);
    found.records += slice.records;
    found.events += slice.events;
    found.removed += slice.removed;
    found.faults.insert(found.faults.end(), slice.faults.begin(), slice.faults.end());
    found.lost.insert(found.lost.end(), slice.lost.begin(), slice.lost.end());
    progress.update(0, found.events);
  } while (slice.next != Position::none);
  found.head = {slice.last, slice.chain};
  found.trimmed_to = slice.trimmed_to;
  return found;
}

// That the log is one chain from its start to its head is in the findings; what is left is that it goes through this head.
std::string why_not_from(const LogHead& head, const LogFindings& findings, const SliceVerifier& verify) {
  const auto last = findings.head.position;
  if (last < head.position) return "the log is shorter than that head: it ends at position " + std::to_string(number(last));
  if (head.position < findings.trimmed_to && head.position != Position::none) return "retention has removed the log up to position " + std::to_string(number(findings.trimmed_to)) + ": what was there cannot be compared";
  const auto is_gone = [&](const auto& range) { return range.first <= head.position && head.position <= range.second; };
  if (std::any_of(findings.lost.begin(), findings.lost.end(), is_gone)) return "that position is lost: what was there cannot be compared";
  const auto differs = [&](const LogFault& fault) { return fault.position == head.position; };
  const bool is_start = head.position == Position::none;
  const auto faults = is_start ? std::vector<LogFault>() : verify(head.position + 1, head.chain).faults;
  if (is_start ? head.chain != 0 : std::any_of(faults.begin(), faults.end(), differs)) {
    return "the chain differs: up to that position this is another log, or a rewritten one";
  }
  return findings.faults.empty() ? "" : "the log has faults";
}

SliceVerifier verify_online(Client& client) {
  return [&client](Position from, std::uint64_t chain) {
    wire::LogVerifyT request;
    request.from = number(from);
    request.chain = chain;
    const auto reply = ask<wire::VerifyReplyT>(client, std::move(request));
    LogSlice slice{Position{reply.next}, reply.chain, reply.records, reply.events, Position{reply.last}, {}, {}, reply.removed, Position{reply.trimmed_to}};
    for (const auto& range : reply.lost) slice.lost.emplace_back(Position{range.first()}, Position{range.last()});
    for (const auto& fault : reply.faults) slice.faults.push_back({Position{fault->position}, fault->what});
    return slice;
  };
}

SliceVerifier verify_offline(const std::filesystem::path& dir) {
  // LMDB trusts what it reads: it only gets pages that are whole.
  const auto pages = store::verify_pages(dir).value();
  if (!pages.faults.empty()) return [pages](Position, std::uint64_t) { return slice_of(pages); };
  const std::shared_ptr<store::Store> log = store::Store::open_read_only(dir).value();
  const std::shared_ptr<store::LogReader> reader = log->reader();
  return [log, reader](Position from, std::uint64_t chain) {
    return slice_of(reader->verify(from, chain, slice_bytes).value());
  };
}

}  // namespace bus::tools
