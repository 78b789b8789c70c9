// bench-redis: Redis Streams through hiredis.
#include <hiredis/hiredis.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <deque>
#include <string_view>

#include "bench/peers/load.hpp"

namespace bus::bench {

namespace {

constexpr std::string_view stored_log = "bench-log";
constexpr std::string_view group = "bench";
constexpr unsigned window_default = 1000;
constexpr unsigned batch_default = 1000;
constexpr unsigned transaction_of_prepare = 500;
constexpr auto block = std::chrono::seconds(1);  // how long the server holds a read that finds nothing

// ---- replies

// Takes the place of the tree of objects which hiredis would make of a reply: eight allocations for each event.
//
// The events of a reply are [[id, [field, value]], …]. XRANGE replies just that, and reading replies [[key, events]], so
// that ids and values are two levels deeper.
struct Reply {
  struct Id {
    std::array<char, 41> text;         // two numbers of 20 digits, and a dash
    unsigned char length;
    std::string_view view() const { return {text.data(), length}; }
  };

  std::vector<Id> ids;
  std::vector<Time> due;               // what the events say, if they say it
  std::size_t bytes = 0;               // of the values
  std::int64_t number = 0;             // if that is all
  std::string error;

  void clear() {
    ids.clear();
    due.clear();
    error.clear();
    bytes = 0;
    number = 0;
  }
};

int depth_of(const redisReadTask* task) {
  int depth = 0;
  for (; task->parent != nullptr; task = task->parent) ++depth;
  return depth;
}

void* take_text(const redisReadTask* task, char* text, std::size_t length) {
  auto& reply = *static_cast<Reply*>(task->privdata);
  if (task->type == REDIS_REPLY_ERROR && reply.error.empty()) reply.error.assign(text, length);
  const int depth = depth_of(task);
  // The key that is where an id of XRANGE would be begins with a letter.
  const bool id = task->idx == 0 && (depth == 2 || depth == 4) && length <= sizeof(Reply::Id::text) && *text >= '0' && *text <= '9';
  const bool value = task->idx == 1 && (depth == 3 || depth == 5);
  if (id) {
    reply.ids.emplace_back().length = static_cast<unsigned char>(length);
    std::memcpy(reply.ids.back().text.data(), text, length);
  } else if (value) {
    reply.bytes += length;
    if (length >= sizeof(std::int64_t)) reply.due.push_back(Payloads::due_of(text));
  }
  return task->privdata;
}

void* take_number(const redisReadTask* task, long long number) {
  static_cast<Reply*>(task->privdata)->number = number;
  return task->privdata;
}

redisReplyObjectFunctions take_reply = {
    take_text,
    [](const redisReadTask* task, int) -> void* { return task->privdata; },
    take_number,
    [](const redisReadTask* task) -> void* { return task->privdata; },
    [](void*) {},
};

// ---- commands

std::string bulk(std::string_view text) { return "$" + std::to_string(text.size()) + "\r\n" + std::string(text) + "\r\n"; }

std::string command(const std::vector<std::string>& words) {
  std::string text = "*" + std::to_string(words.size()) + "\r\n";
  for (const auto& word : words) text += bulk(word);
  return text;
}

// Appending is XADD of one event, formatted once but for the event.
class Appending {
 public:
  Appending(std::string_view stream, std::size_t size)
      : text_("*5\r\n" + bulk("XADD") + bulk(stream) + bulk("*") + bulk("e") + "$" + std::to_string(size) + "\r\n"), head_(text_.size()) {
    text_.append(size, ' ').append("\r\n");
  }
  // Valid until the next one.
  std::string_view of(Bytes event) {
    std::copy(event.begin(), event.end(), text_.begin() + static_cast<std::ptrdiff_t>(head_));
    return text_;
  }

 private:
  std::string text_;
  std::size_t head_;
};

// ---- connection

timeval timeval_of(Duration duration) {
  const auto microseconds = std::chrono::ceil<std::chrono::microseconds>(duration).count();
  return {microseconds / 1'000'000, microseconds % 1'000'000};
}

// Link is a connection on which commands are pipelined: replies come in the order of what was appended.
class Link {
 public:
  explicit Link(const Options& options) : server_(options.server) {
    const auto timeout = timeval_of(options.patience);
    context_.reset(server_.starts_with('/') ? redisConnectUnixWithTimeout(server_.c_str(), timeout)
                                            : redisConnectWithTimeout(options.host().c_str(), options.port(), timeout));
    if (context_ == nullptr || context_->err != 0) fail("connecting to " + server_);
    if (redisSetTimeout(context_.get(), timeout) != REDIS_OK) fail("connecting to " + server_);
    context_->reader->fn = &take_reply;
    context_->reader->privdata = &reply_;
    context_->reader->maxbuf = 0;      // keep the buffer, large as it got
  }

  Link(const Link&) = delete;          // the reader has the address of the reply
  Link& operator=(const Link&) = delete;

  void append(std::string_view text) { redisAppendFormattedCommand(context_.get(), text.data(), text.size()); }

  void flush() {
    for (int done = 0; done == 0;) {
      if (redisBufferWrite(context_.get(), &done) != REDIS_OK) fail("sending");
    }
  }

  // The next reply, after sending all commands if it has to be waited for. Valid until the next one.
  const Reply& read() {
    reply_.clear();
    void* complete = nullptr;
    if (redisGetReply(context_.get(), &complete) != REDIS_OK) fail("waiting for a reply");
    if (!reply_.error.empty()) throw Failed("the server refused: " + reply_.error);
    return reply_;
  }

  // A reply that is there or comes by the deadline, or nullptr. For replies of one line.
  const Reply* read_until(Time deadline) {
    for (void* complete = nullptr;;) {
      reply_.clear();
      if (redisGetReplyFromReader(context_.get(), &complete) != REDIS_OK) fail("waiting for a reply");
      if (!reply_.error.empty()) throw Failed("the server refused: " + reply_.error);
      if (complete != nullptr) return &reply_;
      if (!readable(context_->fd, deadline)) return nullptr;
      if (redisBufferRead(context_.get()) != REDIS_OK) fail("waiting for a reply");
    }
  }

  const Reply& ask(const std::vector<std::string>& words) {
    append(command(words));
    return read();
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    if (context_ == nullptr) throw Failed("no memory");
    const bool late = context_->err == REDIS_ERR_IO && errno == EAGAIN;
    throw Failed(what + ": " + (late ? "nothing came in time" : context_->errstr) + "; is redis-server running?");
  }

  std::string server_;
  Reply reply_;
  Owned<redisContext, redisFree> context_;
};

// A stream is an empty log, which is taken away at the end.
class Stream {
 public:
  Stream(const Options& options, std::string name) : options_(options), name_(std::move(name)) { remove(); }
  ~Stream() {
    try {
      remove();
    } catch (const Failed&) {
    }
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  const std::string& name() const { return name_; }

 private:
  void remove() { Link(options_).ask({"DEL", name_}); }

  const Options& options_;
  std::string name_;
};

void check_stored(Link& link, const Options& options) {
  const auto length = static_cast<std::uint64_t>(link.ask({"XLEN", std::string(stored_log)}).number);
  if (length < options.count) throw Failed("bench-log has fewer events than --count; run prepare with the same --count");
  const auto size = link.ask({"XRANGE", std::string(stored_log), "-", "+", "COUNT", "1"}).bytes;
  if (size != options.size) throw Failed("bench-log has events of another --size; run prepare with the same --size");
}

// ---- publishing

// Each command is acknowledged; at most `window` are not yet. It reads half of them at once, so that the server has work
// in the meantime.
void publish_singly(Link& link, const Options& options, const std::string& stream) {
  Payloads payloads(options.size);
  Appending appending(stream, options.size);
  const std::uint64_t window = options.window.value_or(window_default);
  std::uint64_t unacknowledged = 0;
  for (std::uint64_t at = 0; at < options.count; ++at) {
    link.append(appending.of(payloads.next()));
    if (++unacknowledged < window) continue;
    for (; unacknowledged > window / 2; --unacknowledged) link.read();
  }
  for (; unacknowledged > 0; --unacknowledged) link.read();
}

// MULTI, as many events, EXEC; two transactions are under way.
void publish_in_transactions(Link& link, const Options& options, const std::string& stream) {
  static const std::string multi = command({"MULTI"}), exec = command({"EXEC"});
  Payloads payloads(options.size);
  Appending appending(stream, options.size);
  std::deque<std::uint64_t> replies;
  const auto settle = [&](std::size_t under_way) {
    for (; replies.size() > under_way; replies.pop_front()) {
      for (std::uint64_t at = 0; at < replies.front(); ++at) link.read();
    }
  };
  for (std::uint64_t at = 0; at < options.count;) {
    const auto size = std::min<std::uint64_t>(options.transaction, options.count - at);
    link.append(multi);
    for (std::uint64_t of = 0; of < size; ++of) link.append(appending.of(payloads.next()));
    link.append(exec);
    link.flush();
    replies.push_back(size + 2);
    settle(1);
    at += size;
  }
  settle(0);
}

Duration publish_all(Link& link, const Options& options, const std::string& stream) {
  const auto begun = now();
  (options.transaction > 0 ? publish_in_transactions : publish_singly)(link, options, stream);
  return now() - begun;
}

Json publish_settings(const Options& options) {
  if (options.transaction > 0) return {{"transaction", options.transaction}};
  return {{"window", options.window.value_or(window_default)}};
}

Measured prepare(const Options& given) {
  auto options = given;
  if (options.transaction == 0) options.transaction = transaction_of_prepare;
  Link link(options);
  link.ask({"DEL", std::string(stored_log)});
  Measured measured;
  measured.took = publish_all(link, options, std::string(stored_log));
  measured.settings = publish_settings(options);
  return measured;
}

Measured publish(const Options& options) {
  Link link(options);
  const Stream stream(options, "bench-publish");
  Measured measured;
  measured.took = publish_all(link, options, stream.name());
  measured.settings = publish_settings(options);
  return measured;
}

Measured publish_one_by_one(const Options& options) {
  const Stream stream(options, "bench-publish-each");
  return publish_each(options, [&]() -> PublishOne {
    return [link = std::make_shared<Link>(options), appending = Appending(stream.name(), options.size)](Bytes event) mutable {
      link->append(appending.of(event));
      link->read();
    };
  });
}

// ---- consuming

// Consumer is the only one of a new group, which reads ahead: while it handles a batch, the server works on the next one.
class Consumer {
 public:
  using Take = std::function<void(const Reply&)>;

  Consumer(const Options& options, std::string stream, const std::string& from)
      : options_(options), link_(options), stream_(std::move(stream)) {
    link_.ask({"XGROUP", "CREATE", stream_, std::string(group), from, "MKSTREAM"});
  }

  void remove_group() { link_.ask({"XGROUP", "DESTROY", stream_, std::string(group)}); }

  // `ahead` reads are under way. Until `count` events have been acknowledged, or none came for the time. How many have.
  std::uint64_t run(unsigned ahead, bool wait, const Take& take) {
    for (unsigned at = 0; at < ahead; ++at) ask_for_events(wait);
    auto last = now();
    while (!under_way_.empty()) {
      const auto next = under_way_.front();
      under_way_.pop_front();
      if (next != events) {
        acknowledged_ += take_acknowledgements(next);
        continue;
      }
      const auto& reply = link_.read();
      if (!reply.ids.empty()) last = now();
      take(reply);
      taken_ += reply.ids.size();
      acknowledge(reply);
      if (taken_ < options_.count && now() < last + options_.patience) ask_for_events(wait);
    }
    return acknowledged_;
  }

 private:
  static constexpr std::size_t events = 0;  // else the number of replies to acknowledgements

  void ask_for_events(bool wait) {
    std::vector<std::string> words = {"XREADGROUP", "GROUP", std::string(group), "c", "COUNT", std::to_string(options_.batch.value_or(batch_default))};
    if (wait) words.insert(words.end(), {"BLOCK", std::to_string(milliseconds(std::min<Duration>(block, options_.patience)))});
    words.insert(words.end(), {"STREAMS", stream_, ">"});
    link_.append(command(words));
    under_way_.push_back(events);
  }

  void acknowledge(const Reply& reply) {
    const auto& ids = reply.ids;
    if (ids.empty()) return;
    const std::size_t in_one = options_.ack_together ? ids.size() : 1;
    const auto head = "*" + std::to_string(3 + in_one) + "\r\n" + bulk("XACK") + bulk(stream_) + bulk(group);
    for (std::size_t at = 0; at < ids.size(); ++at) {
      if (at % in_one == 0) link_.append(head);
      append_id(ids[at].view());
    }
    under_way_.push_back(ids.size() / in_one);
    link_.flush();
  }

  void append_id(std::string_view id) {
    std::array<char, 64> text;
    const int length = std::snprintf(text.data(), text.size(), "$%zu\r\n%.*s\r\n", id.size(), static_cast<int>(id.size()), id.data());
    link_.append({text.data(), static_cast<std::size_t>(length)});
  }

  std::uint64_t take_acknowledgements(std::size_t replies) {
    std::uint64_t acknowledged = 0;
    for (std::size_t at = 0; at < replies; ++at) acknowledged += static_cast<std::uint64_t>(link_.read().number);
    return acknowledged;
  }

  const Options& options_;
  Link link_;
  std::string stream_;
  std::deque<std::size_t> under_way_;
  std::uint64_t taken_ = 0, acknowledged_ = 0;
};

Measured consume(const Options& options) {
  Link link(options);
  check_stored(link, options);
  link.ask({"XGROUP", "DESTROY", std::string(stored_log), std::string(group)});
  Consumer consumer(options, std::string(stored_log), "0");
  constexpr unsigned ahead = 2;
  const auto begun = now();
  const auto acknowledged = consumer.run(ahead, false, [](const Reply&) {});
  Measured measured;
  measured.took = now() - begun;
  consumer.remove_group();
  if (acknowledged < options.count) throw Failed("the server lacks acknowledgements that were sent");
  measured.settings = {{"batch", options.batch.value_or(batch_default)}, {"reads_ahead", ahead}, {"ack_together", options.ack_together}};
  return measured;
}

// ---- latency

Latencies publish_paced(const Options& options, const std::string& stream, const Pace& pace) {
  Link link(options);
  Payloads payloads(options.size);
  Appending appending(stream, options.size);
  Latencies receipts;
  for (std::uint64_t at = 0; at < options.count; ++at) {
    while (link.read_until(pace.due(at)) != nullptr) receipts.add(now() - pace.due(receipts.count()));
    link.append(appending.of(payloads.next(pace.due(at))));
    link.flush();
  }
  while (receipts.count() < options.count) {
    if (link.read_until(now() + options.patience) == nullptr) throw Failed("no acknowledgement came in time; look at the server's log");
    receipts.add(now() - pace.due(receipts.count()));
  }
  return receipts;
}

Measured e2e(const Options& options) {
  const Stream stream(options, "bench-e2e");
  Consumer consumer(options, stream.name(), "$");
  Measured measured{.latency = Latencies()};
  Time last{};
  const auto take = [&](const Reply& reply) {
    last = now();
    for (const auto due : reply.due) measured.latency->add(last - due);
  };
  const Pace pace(options.rate);
  on_threads(2, [&](unsigned at) {
    if (at == 0) measured.lost = options.count - consumer.run(1, true, take);
    else measured.receipt = publish_paced(options, stream.name(), pace);
  });
  measured.took = last - pace.due(0);
  measured.settings = {{"rate", options.rate}, {"consumer", "XREADGROUP BLOCK, XACK for each event"}};
  return measured;
}

// ---- reading

Measured replay(const Options& options) {
  Link link(options);
  check_stored(link, options);
  const auto batch = options.batch.value_or(batch_default);
  std::string from = "-";
  std::uint64_t taken = 0;
  const auto begun = now();
  while (taken < options.count) {
    const auto& reply = link.ask({"XRANGE", std::string(stored_log), from, "+", "COUNT", std::to_string(batch)});
    if (reply.ids.empty()) throw Failed("bench-log ended after " + std::to_string(taken) + " events; run prepare again");
    taken += reply.ids.size();
    from = "(" + std::string(reply.ids.back().view());
  }
  Measured measured;
  measured.took = now() - begun;
  measured.settings = {{"batch", batch}};
  return measured;
}

// How many of all events came, and when the last one did.
std::pair<std::uint64_t, Time> read_all(const Options& options, Link& link, const std::string& stream) {
  std::string from = "0";
  std::uint64_t taken = 0;
  Time last = now();
  while (taken < options.count && now() < last + options.patience) {
    const auto& reply = link.ask({"XREAD", "COUNT", std::to_string(options.batch.value_or(batch_default)), "BLOCK",
                                  std::to_string(milliseconds(std::min<Duration>(block, options.patience))), "STREAMS", stream, from});
    if (reply.ids.empty()) continue;
    last = now();
    taken += reply.ids.size();
    from = reply.ids.back().view();
  }
  return {taken, last};
}

Measured fanout(const Options& options) {
  const Stream stream(options, "bench-fanout");
  Link publisher(options);
  std::deque<Link> readers;            // which stay where they are
  for (unsigned at = 0; at < options.subscribers; ++at) readers.emplace_back(options);
  Measured measured;
  std::mutex mutex;
  const auto begun = now();
  on_threads(options.subscribers + 1, [&](unsigned at) {
    if (at == options.subscribers) {
      publish_all(publisher, options, stream.name());
      return;
    }
    const auto [taken, last] = read_all(options, readers[at], stream.name());
    const std::lock_guard lock(mutex);
    measured.lost += options.count - taken;
    measured.took = std::max<Duration>(measured.took, last - begun);
  });
  measured.settings = publish_settings(options);
  measured.settings.update({{"subscribers", options.subscribers}, {"batch", options.batch.value_or(batch_default)}});
  return measured;
}

}  // namespace

}  // namespace bus::bench

int main(int argc, char** argv) {
  using namespace bus::bench;
  return run(argc, argv, {"redis", "With appendfsync always: the event is synced to the append-only file.",
                          {.transaction = true, .ack_together = true},
                          {{"prepare", prepare}, {"publish", publish}, {"publish-each", publish_one_by_one}, {"e2e", e2e},
                           {"consume", consume}, {"replay", replay}, {"fanout", fanout}}});
}
