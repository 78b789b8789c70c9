// bench-rabbitmq: RabbitMQ through its C client: quorum queues, and a stream for what is read more than once.
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <deque>
#include <set>
#include <string_view>

#include "bench/peers/load.hpp"

namespace bus::bench {

namespace {

constexpr std::string_view stored_stream = "bench-stream";
constexpr std::string_view quorum = "quorum", stream = "stream";
constexpr unsigned window_default = 1000;
constexpr unsigned prefetch_default = 1000;
constexpr unsigned stream_prefetch_default = 5000;
constexpr unsigned prefetch_max = 65'535;  // of the protocol
constexpr amqp_channel_t channel = 1;
constexpr int frame_bytes_max = 131'072;

amqp_bytes_t bytes_of(std::string_view text) { return {text.size(), const_cast<char*>(text.data())}; }
std::string_view text_of(amqp_bytes_t bytes) { return {static_cast<const char*>(bytes.bytes), bytes.len}; }

amqp_table_entry_t entry(std::string_view key, std::string_view text) {
  amqp_table_entry_t made{};
  made.key = bytes_of(key);
  made.value.kind = AMQP_FIELD_KIND_UTF8;
  made.value.value.bytes = bytes_of(text);
  return made;
}

timeval timeval_of(Duration duration) {
  const auto microseconds = std::chrono::ceil<std::chrono::microseconds>(duration).count();
  return {microseconds / 1'000'000, microseconds % 1'000'000};
}

unsigned prefetch_of(const Options& options, unsigned otherwise = prefetch_default) {
  return std::min(options.batch.value_or(otherwise), prefetch_max);
}

// ---- connection

struct Event {
  std::uint64_t tag;
  Time due;                            // if it says so
};

// Link is a connection with one channel. Frames are taken as they come, which spares the library six allocations for
// each event.
class Link {
 public:
  explicit Link(const Options& options) : patience_(options.patience), connection_(amqp_new_connection()) {
    auto* const socket = amqp_tcp_socket_new(raw());
    const auto timeout = timeval_of(patience_);
    if (socket == nullptr) throw Failed("no memory");
    check(amqp_socket_open_noblock(socket, options.host().c_str(), options.port(), &timeout), "connecting to " + options.server);
    check(amqp_set_rpc_timeout(raw(), &timeout), "connecting to " + options.server);
    check(amqp_login(raw(), "/", 0, frame_bytes_max, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest"), "logging in as guest");
    amqp_channel_open(raw(), channel);
    check("opening a channel");
  }
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  // From now on the kernel joins what is sent into large segments, until this waits. The library sends each method and
  // each part of an event for itself, of which every one would wake the server.
  void join_segments() {
    joins_ = true;
    set_cork(1);
  }

  // ---- queues

  void declare(std::string_view queue, std::string_view type) {
    amqp_table_entry_t arguments = entry("x-queue-type", type);
    amqp_queue_declare(raw(), channel, bytes_of(queue), 0, 1, 0, 0, {1, &arguments});
    check("making a queue");
  }
  void remove(std::string_view queue) {
    amqp_queue_delete(raw(), channel, bytes_of(queue), 0, 0);
    check("removing a queue");
  }

  // ---- publishing

  void confirm_publishing() {
    amqp_confirm_select(raw(), channel);
    check("asking for confirms");
  }

  void publish(std::string_view queue, Bytes event) {
    // The library would wait for a server that takes nothing as long as it takes.
    pollfd watched = {amqp_get_sockfd(raw()), POLLOUT, 0};
    if (poll(&watched, 1, static_cast<int>(milliseconds(patience_))) <= 0) throw Failed("the server takes no events; look at its log for an alarm");
    amqp_basic_properties_t properties{};
    properties._flags = AMQP_BASIC_DELIVERY_MODE_FLAG;
    properties.delivery_mode = AMQP_DELIVERY_PERSISTENT;
    const auto body = bytes_of({event.data(), event.size()});
    check(amqp_basic_publish(raw(), channel, amqp_empty_bytes, bytes_of(queue), 0, 0, &properties, body), "publishing");
  }

  // ---- consuming

  void subscribe(std::string_view queue, unsigned prefetch, std::string_view offset = {}) {
    amqp_basic_qos(raw(), channel, 0, static_cast<std::uint16_t>(prefetch), 0);
    check("setting the prefetch");
    amqp_table_entry_t arguments = entry("x-stream-offset", offset);
    amqp_basic_consume(raw(), channel, bytes_of(queue), bytes_of("bench"), 0, 0, 0, {offset.empty() ? 0 : 1, &arguments});
    check("subscribing");
  }

  void acknowledge(std::uint64_t tag, bool all_before) { check(amqp_basic_ack(raw(), channel, tag, all_before), "acknowledging"); }

  // ---- receiving

  // The next frame, if there is one by the deadline. Its contents are valid until the next call.
  const amqp_frame_t* next(Time deadline) {
    if (++frames_ % 256 == 0) amqp_maybe_release_buffers(raw());
    while (amqp_frames_enqueued(raw()) || amqp_data_in_buffer(raw()) || wait(deadline)) {
      const timeval at_once{};
      const int status = amqp_simple_wait_frame_noblock(raw(), &frame_, &at_once);
      if (status == AMQP_STATUS_TIMEOUT) continue;  // only a part of a frame was there
      check(status, "waiting for the server");
      refuse_closing();
      return &frame_;
    }
    return nullptr;
  }

  const amqp_frame_t& next() {
    const auto* frame = next(now() + patience_);
    if (frame == nullptr) throw Failed("the server sends nothing; look at its log");
    return *frame;
  }

  // The next event, or nothing if the server has been silent for the time.
  std::optional<Event> next_event() {
    for (const auto* frame = next(now() + patience_); frame != nullptr; frame = next(now() + patience_)) {
      if (take_event(*frame)) return arriving_;
    }
    return std::nullopt;
  }

 private:
  amqp_connection_state_t raw() const { return connection_.get(); }

  bool wait(Time deadline) {
    if (joins_ && readable(amqp_get_sockfd(raw()), Time{})) return true;
    if (joins_) set_cork(0);           // sends what is there
    const bool there = readable(amqp_get_sockfd(raw()), deadline);
    if (joins_) set_cork(1);
    return there;
  }

  void set_cork(int on) const { setsockopt(amqp_get_sockfd(raw()), IPPROTO_TCP, TCP_CORK, &on, sizeof on); }

  // True with the last frame of an event.
  bool take_event(const amqp_frame_t& frame) {
    if (frame.frame_type == AMQP_FRAME_METHOD && frame.payload.method.id == AMQP_BASIC_DELIVER_METHOD) {
      arriving_.tag = static_cast<amqp_basic_deliver_t*>(frame.payload.method.decoded)->delivery_tag;
    } else if (frame.frame_type == AMQP_FRAME_HEADER) {
      body_left_ = frame.payload.properties.body_size;
      begun_ = false;
    } else if (frame.frame_type == AMQP_FRAME_BODY) {
      const auto part = frame.payload.body_fragment;
      if (!begun_ && part.len >= sizeof(std::int64_t)) arriving_.due = Payloads::due_of(part.bytes);
      begun_ = true;
      body_left_ -= part.len;
      return body_left_ == 0;
    }
    return false;
  }

  void refuse_closing() const {
    if (frame_.frame_type != AMQP_FRAME_METHOD) return;
    const auto& method = frame_.payload.method;
    if (method.id == AMQP_CHANNEL_CLOSE_METHOD) fail(static_cast<amqp_channel_close_t*>(method.decoded)->reply_text);
    if (method.id == AMQP_CONNECTION_CLOSE_METHOD) fail(static_cast<amqp_connection_close_t*>(method.decoded)->reply_text);
    if (method.id == AMQP_BASIC_CANCEL_METHOD) throw Failed("the server has ended the subscription; look at its log");
    if (method.id == AMQP_BASIC_NACK_METHOD) throw Failed("the server has refused an event; look at its log");
  }

  [[noreturn]] static void fail(amqp_bytes_t why) { throw Failed("the server refused: " + std::string(text_of(why))); }

  static void check(int status, const std::string& what) {
    if (status == AMQP_STATUS_OK) return;
    throw Failed(what + ": " + amqp_error_string2(status) + "; is rabbitmq-server running?");
  }
  static void check(const amqp_rpc_reply_t& reply, const std::string& what) {
    if (reply.reply_type == AMQP_RESPONSE_NORMAL) return;
    if (reply.reply_type != AMQP_RESPONSE_SERVER_EXCEPTION) check(reply.library_error, what);
    if (reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD) fail(static_cast<amqp_channel_close_t*>(reply.reply.decoded)->reply_text);
    if (reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD) fail(static_cast<amqp_connection_close_t*>(reply.reply.decoded)->reply_text);
    throw Failed(what + ": the connection is gone; look at the server's log");
  }
  void check(const std::string& what) const { check(amqp_get_rpc_reply(raw()), what); }

  Duration patience_;
  Owned<amqp_connection_state_t_, amqp_destroy_connection> connection_;
  amqp_frame_t frame_{};
  std::uint64_t frames_ = 0;
  Event arriving_{};
  std::uint64_t body_left_ = 0;
  bool begun_ = false;
  bool joins_ = false;
};

// A queue is new, and is taken away at the end.
class Queue {
 public:
  Queue(const Options& options, std::string_view name, std::string_view type) : link_(options), name_(name) {
    link_.remove(name);
    link_.declare(name, type);
  }
  ~Queue() {
    try {
      if (!kept_) link_.remove(name_);
    } catch (const Failed&) {
    }
  }
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  void keep() { kept_ = true; }
  std::string_view name() const { return name_; }

 private:
  Link link_;
  std::string_view name_;
  bool kept_ = false;
};

// ---- publishing

// Publisher counts confirms, which may come out of order or for many at once.
class Publisher {
 public:
  explicit Publisher(const Options& options) : link_(options) { link_.confirm_publishing(); }

  void publish(std::string_view queue, Bytes event) {
    link_.publish(queue, event);
    ++published_;
  }
  void join_segments() { link_.join_segments(); }
  std::uint64_t unconfirmed() const { return published_ - floor_ - early_.size(); }

  // Until no more than `most` are unconfirmed.
  void settle(std::uint64_t most) {
    while (unconfirmed() > most) take(link_.next(), [](std::uint64_t) {});
  }
  // What is confirmed by the deadline: receipt(tag), from 1.
  template <typename Receipt>
  void take_until(Time deadline, Receipt receipt) {
    while (const auto* frame = link_.next(deadline)) take(*frame, receipt);
  }

 private:
  template <typename Receipt>
  void take(const amqp_frame_t& frame, Receipt receipt) {
    if (frame.frame_type != AMQP_FRAME_METHOD || frame.payload.method.id != AMQP_BASIC_ACK_METHOD) return;
    const auto& ack = *static_cast<amqp_basic_ack_t*>(frame.payload.method.decoded);
    for (auto tag = ack.multiple ? floor_ + 1 : ack.delivery_tag; tag <= ack.delivery_tag; ++tag) {
      if (tag > floor_ && early_.insert(tag).second) receipt(tag);
    }
    while (!early_.empty() && *early_.begin() == floor_ + 1) early_.erase(early_.begin()), ++floor_;
  }

  Link link_;
  std::uint64_t published_ = 0;
  std::uint64_t floor_ = 0;            // all up to it are confirmed
  std::set<std::uint64_t> early_;      // and these
};

Duration publish_all(const Options& options, std::uint64_t count, Publisher& publisher, std::string_view queue) {
  Payloads payloads(options.size);
  const std::uint64_t window = options.window.value_or(window_default);
  publisher.join_segments();
  const auto begun = now();
  for (std::uint64_t at = 0; at < count; ++at) {
    publisher.publish(queue, payloads.next());
    if (publisher.unconfirmed() >= window) publisher.settle(window / 2);
  }
  publisher.settle(0);
  return now() - begun;
}

constexpr const char* stream_acknowledged = "The event is written to the stream's file, which is not synced.";

Measured prepare(const Options& options) {
  Queue queue(options, stored_stream, stream);
  Publisher publisher(options);
  Measured measured;
  measured.took = publish_all(options, options.count, publisher, queue.name());
  measured.settings = {{"queue", stream}, {"window", options.window.value_or(window_default)}};
  measured.acknowledged = stream_acknowledged;
  queue.keep();
  return measured;
}

Measured publish(const Options& options) {
  const Queue queue(options, "bench-publish", quorum);
  Publisher publisher(options);
  Measured measured;
  measured.took = publish_all(options, options.count, publisher, queue.name());
  measured.settings = {{"queue", quorum}, {"window", options.window.value_or(window_default)}};
  return measured;
}

Measured publish_one_by_one(const Options& options) {
  const Queue queue(options, "bench-publish-each", quorum);
  auto measured = publish_each(options, [&]() -> PublishOne {
    return [&queue, publisher = std::make_shared<Publisher>(options)](Bytes event) {
      publisher->publish(queue.name(), event);
      publisher->settle(0);
    };
  });
  measured.settings["queue"] = quorum;
  return measured;
}

// ---- consuming

// AMQP confirms no acknowledgements, and a quorum queue takes them later than the channel does. But it delivers event
// count + prefetch only once `count` of those before are acknowledged, so that is the end.
Measured consume(const Options& options) {
  const Queue queue(options, "bench-log", quorum);
  const auto prefetch = prefetch_of(options);
  Publisher publisher(options);
  publish_all(options, options.count + prefetch, publisher, queue.name());
  Link link(options);
  const auto begun = now();
  link.subscribe(queue.name(), prefetch);
  link.join_segments();
  for (std::uint64_t taken = 1; taken <= options.count + prefetch; ++taken) {
    const auto event = link.next_event();
    if (!event) throw Failed("only " + std::to_string(taken - 1) + " events came; look at the server's log");
    if (!options.ack_together || taken % (prefetch / 2 + 1) == 0) link.acknowledge(event->tag, options.ack_together);
  }
  Measured measured;
  measured.took = now() - begun;
  measured.settings = {{"queue", quorum}, {"prefetch", prefetch}, {"ack_together", options.ack_together}};
  return measured;
}

// ---- latency

Latencies publish_paced(const Options& options, std::string_view queue, const Pace& pace) {
  Publisher publisher(options);
  Payloads payloads(options.size);
  Latencies receipts;
  const auto take = [&](std::uint64_t tag) { receipts.add(now() - pace.due(tag - 1)); };
  for (std::uint64_t at = 0; at < options.count; ++at) {
    publisher.take_until(pace.due(at), take);
    publisher.publish(queue, payloads.next(pace.due(at)));
  }
  while (publisher.unconfirmed() > 0) {
    const auto before = receipts.count();
    publisher.take_until(now() + std::chrono::milliseconds(100), take);
    if (receipts.count() > before || now() < pace.due(options.count) + options.patience) continue;
    throw Failed("events were not confirmed; look at the server's log");
  }
  return receipts;
}

Measured e2e(const Options& options) {
  const Queue queue(options, "bench-e2e", quorum);
  const auto prefetch = prefetch_of(options);
  Link subscriber(options);
  subscriber.subscribe(queue.name(), prefetch);
  Measured measured{.latency = Latencies()};
  Time last{};
  const auto consume_all = [&] {
    for (std::uint64_t taken = 0; taken < options.count; ++taken) {
      const auto event = subscriber.next_event();
      if (!event) return;
      last = now();
      measured.latency->add(last - event->due);
      subscriber.acknowledge(event->tag, false);
    }
  };
  const Pace pace(options.rate);
  on_threads(2, [&](unsigned at) {
    if (at == 0) consume_all();
    else measured.receipt = publish_paced(options, queue.name(), pace);
  });
  measured.lost = options.count - measured.latency->count();
  measured.took = last - pace.due(0);
  measured.settings = {{"rate", options.rate}, {"queue", quorum}, {"prefetch", prefetch}};
  return measured;
}

// ---- reading a stream

// How many came, and when the last one did. Acknowledgements only ask for more, so that one for many will do.
std::pair<std::uint64_t, Time> read_all(const Options& options, Link& link, unsigned prefetch) {
  Time last = now();
  for (std::uint64_t taken = 0; taken < options.count; ++taken) {
    const auto event = link.next_event();
    if (!event) return {taken, last};
    last = now();
    if ((taken + 1) % (prefetch / 4 + 1) == 0) link.acknowledge(event->tag, true);
  }
  return {options.count, last};
}

Measured replay(const Options& options) {
  Link link(options);
  const auto prefetch = prefetch_of(options, stream_prefetch_default);
  const auto begun = now();
  link.subscribe(stored_stream, prefetch, "first");
  const auto [taken, last] = read_all(options, link, prefetch);
  if (taken < options.count) throw Failed("bench-stream ended after " + std::to_string(taken) + " events; run prepare with the same --count");
  Measured measured;
  measured.took = last - begun;
  measured.settings = {{"queue", stream}, {"prefetch", prefetch}};
  measured.acknowledged = stream_acknowledged;
  return measured;
}

Measured fanout(const Options& options) {
  const Queue queue(options, "bench-fanout", stream);
  const auto prefetch = prefetch_of(options, stream_prefetch_default);
  Publisher publisher(options);
  std::deque<Link> readers;
  for (unsigned at = 0; at < options.subscribers; ++at) readers.emplace_back(options).subscribe(queue.name(), prefetch, "first");
  Measured measured;
  std::mutex mutex;
  const auto begun = now();
  on_threads(options.subscribers + 1, [&](unsigned at) {
    if (at == options.subscribers) {
      publish_all(options, options.count, publisher, queue.name());
      return;
    }
    const auto [taken, last] = read_all(options, readers[at], prefetch);
    const std::lock_guard lock(mutex);
    measured.lost += options.count - taken;
    measured.took = std::max<Duration>(measured.took, last - begun);
  });
  measured.settings = {{"subscribers", options.subscribers}, {"queue", stream}, {"prefetch", prefetch},
                       {"window", options.window.value_or(window_default)}};
  measured.acknowledged = stream_acknowledged;
  return measured;
}

}  // namespace

}  // namespace bus::bench

int main(int argc, char** argv) {
  using namespace bus::bench;
  return run(argc, argv, {"rabbitmq", "The event is synced to the write-ahead log of its quorum queue.", {.ack_together = true},
                          {{"prepare", prepare}, {"publish", publish}, {"publish-each", publish_one_by_one}, {"e2e", e2e},
                           {"consume", consume}, {"replay", replay}, {"fanout", fanout}}});
}
