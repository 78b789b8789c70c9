// bench-nats: NATS JetStream through its C client.
#include <nats/nats.h>

#include "bench/peers/load.hpp"

namespace bus::bench {

namespace {

constexpr const char* stored_log = "bench-log";
constexpr unsigned window_default = 32'768;
constexpr unsigned batch_default = 8000;  // a fifth faster than 1000, and 4000 the same
// The server's own limit, 1000, would make a consumer wait for its acknowledgements.
constexpr std::int64_t unacknowledged_max = 1'000'000;
// So that the client drops nothing. It takes 1024 times as many for the limit in bytes, as an int.
constexpr int kept_max = 2'000'000;

void check(natsStatus status, const std::string& what) {
  if (status == NATS_OK) return;
  throw Failed(what + ": " + natsStatus_GetText(status) + "; is nats-server running with JetStream (-js)?");
}

void check(natsStatus status, jsErrCode code, const std::string& what) {
  check(status, code == 0 ? what : what + " (JetStream error " + std::to_string(code) + ")");
}

// Link is a connection with its JetStream context. libnats reads it on a thread of its own.
class Link {
 public:
  // `asap` sends each event at once, which is quicker for one and slower for many.
  Link(const Options& options, bool asap, jsPubAckHandler receipt = nullptr, void* closure = nullptr) : options_(options) {
    natsOptions* made = nullptr;
    check(natsOptions_Create(&made), "options");
    const Owned<natsOptions, natsOptions_Destroy> settings(made);
    check(natsOptions_SetURL(made, ("nats://" + options.host() + ":" + std::to_string(options.port())).c_str()), "address");
    check(natsOptions_SetSendAsap(made, asap), "options");
    check(natsOptions_SetAllowReconnect(made, false), "options");
    check(natsOptions_SetWriteDeadline(made, milliseconds(options.patience)), "options");
    check(natsOptions_SetMaxPendingMsgs(made, kept_max), "options");
    natsConnection* connection = nullptr;
    check(natsConnection_Connect(&connection, made), "connecting to " + options.server);
    connection_.reset(connection);
    open_context(receipt, closure);
  }

  jsCtx* context() const { return context_.get(); }
  const Options& options() const { return options_; }

  void publish_soon(const char* stream, Bytes event) {
    check(js_PublishAsync(context(), stream, event.data(), static_cast<int>(event.size()), nullptr), "publishing");
  }

  void publish(const char* stream, Bytes event) {
    jsPubAck* receipt = nullptr;
    jsErrCode code{};
    check(js_Publish(&receipt, context(), stream, event.data(), static_cast<int>(event.size()), nullptr, &code), code, "publishing");
    jsPubAck_Destroy(receipt);
  }

  // Until all events have been acknowledged.
  void settle() {
    jsPubOptions wait;
    jsPubOptions_Init(&wait);
    wait.MaxWait = milliseconds(options_.patience);
    check(js_PublishAsyncComplete(context(), &wait), "waiting for the last acknowledgements");
    if (refused_ > 0) throw Failed(std::to_string(refused_) + " events were refused; look at the server's log");
  }

  unsigned window() const { return options_.window.value_or(window_default); }

 private:
  void open_context(jsPubAckHandler receipt, void* closure) {
    jsOptions settings;
    jsOptions_Init(&settings);
    settings.Wait = milliseconds(options_.patience);
    settings.PublishAsync.MaxPending = window();
    settings.PublishAsync.StallWait = milliseconds(options_.patience);
    settings.PublishAsync.AckHandler = receipt;
    settings.PublishAsync.AckHandlerClosure = closure;
    settings.PublishAsync.ErrHandler = [](jsCtx*, jsPubAckErr*, void* link) { ++static_cast<Link*>(link)->refused_; };
    settings.PublishAsync.ErrHandlerClosure = this;
    jsCtx* context = nullptr;
    check(natsConnection_JetStream(&context, connection_.get(), &settings), "JetStream");
    context_.reset(context);
  }

  const Options& options_;
  std::atomic<std::uint64_t> refused_{0};
  Owned<natsConnection, natsConnection_Destroy> connection_;
  Owned<jsCtx, jsCtx_Destroy> context_;
};

// A stream is a log of one subject, which has its name. It is taken away at the end unless it is to be kept.
class Stream {
 public:
  Stream(Link& link, const char* name) : link_(link), name_(name) {
    js_DeleteStream(link.context(), name, nullptr, nullptr);
    jsStreamConfig config;
    jsStreamConfig_Init(&config);
    config.Name = name;
    config.Subjects = &name_;
    config.SubjectsLen = 1;
    config.Storage = link.options().in_memory ? js_MemoryStorage : js_FileStorage;
    jsErrCode code{};
    check(js_AddStream(nullptr, link.context(), &config, nullptr, &code), code, "making a stream");
  }
  ~Stream() {
    if (!kept_) js_DeleteStream(link_.context(), name_, nullptr, nullptr);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void keep() { kept_ = true; }
  const char* name() const { return name_; }

 private:
  Link& link_;
  const char* name_;
  bool kept_ = false;
};

using Subscription = Owned<natsSubscription, natsSubscription_Destroy>;
using Message = Owned<natsMsg, natsMsg_Destroy>;

Json storage(const Options& options) { return options.in_memory ? "memory" : "file"; }

// That bench-log has the events which the options speak of.
void check_stored(Link& link) {
  jsStreamInfo* info = nullptr;
  jsErrCode code{};
  check(js_GetStreamInfo(&info, link.context(), stored_log, nullptr, &code), code, "looking for bench-log, which prepare makes");
  const Owned<jsStreamInfo, jsStreamInfo_Destroy> owned(info);
  if (info->State.Msgs < link.options().count) throw Failed("bench-log has fewer events than --count; run prepare with the same --count");
  natsMsg* first = nullptr;
  check(js_GetMsg(&first, link.context(), stored_log, info->State.FirstSeq, nullptr, &code), code, "reading bench-log");
  const Message event(first);
  const auto size = static_cast<std::size_t>(natsMsg_GetDataLength(first));
  if (size != link.options().size) throw Failed("bench-log has events of another --size; run prepare with the same --size");
}

// ---- publishing

Duration publish_all(Link& link, const char* stream) {
  Payloads payloads(link.options().size);
  const auto begun = now();
  for (std::uint64_t at = 0; at < link.options().count; ++at) link.publish_soon(stream, payloads.next());
  link.settle();
  return now() - begun;
}

Measured publish_into(const Options& options, const char* name, bool keep) {
  Link link(options, false);
  Stream stream(link, name);
  Measured measured;
  measured.took = publish_all(link, name);
  measured.settings = {{"window", link.window()}, {"storage", storage(options)}};
  if (keep) stream.keep();
  return measured;
}

Measured prepare(const Options& options) { return publish_into(options, stored_log, true); }
Measured publish(const Options& options) { return publish_into(options, "bench-publish", false); }

Measured publish_one_by_one(const Options& options) {
  Link link(options, true);
  const Stream stream(link, "bench-publish-each");
  auto measured = publish_each(options, [&]() -> PublishOne {
    return [&stream, own = std::make_shared<Link>(options, true)](Bytes event) { own->publish(stream.name(), event); };
  });
  measured.settings["storage"] = storage(options);
  return measured;
}

// ---- push subscriptions

using TakeEvent = void (*)(natsConnection*, natsSubscription*, natsMsg*, void*);

Subscription subscribe(Link& link, const char* stream, jsSubOptions& how, TakeEvent take, void* closure) {
  natsSubscription* made = nullptr;
  jsErrCode code{};
  how.Stream = stream;
  check(js_Subscribe(&made, link.context(), stream, take, closure, nullptr, &how, &code), code, "subscribing");
  Subscription subscription(made);
  check(natsSubscription_SetPendingLimits(made, -1, -1), "subscribing");
  return subscription;
}

void unsubscribe(const Subscription& subscription) { natsSubscription_Unsubscribe(subscription.get()); }

// Receipts and Deliveries are each filled by one thread of libnats, and read when all is over.
struct Receipts {
  explicit Receipts(std::uint64_t count) : tally(count) {}
  Tally tally;
  Latencies latencies;
  std::atomic<std::uint64_t> refused{0};
};

void take_receipt(jsCtx*, natsMsg* event, jsPubAck* receipt, jsPubAckErr*, void* closure) {
  const Message owned(event);
  auto& receipts = *static_cast<Receipts*>(closure);
  if (receipt == nullptr) ++receipts.refused;
  if (receipt != nullptr) receipts.latencies.add(now() - Payloads::due_of(natsMsg_GetData(event)));
  receipts.tally.add();
}

struct Deliveries {
  explicit Deliveries(std::uint64_t count) : tally(count) {}
  Tally tally;
  Latencies latencies;
};

void take_and_ack(natsConnection*, natsSubscription*, natsMsg* event, void* closure) {
  const Message owned(event);
  auto& deliveries = *static_cast<Deliveries*>(closure);
  deliveries.latencies.add(now() - Payloads::due_of(natsMsg_GetData(event)));
  natsMsg_Ack(event, nullptr);
  deliveries.tally.add();
}

Measured e2e(const Options& options) {
  Receipts receipts(options.count);
  Deliveries deliveries(options.count);
  Link publisher(options, true, take_receipt, &receipts), subscriber(options, false);
  const Stream stream(publisher, "bench-e2e");
  jsSubOptions durable;
  jsSubOptions_Init(&durable);
  durable.ManualAck = true;
  durable.Config.Durable = "bench";
  durable.Config.AckPolicy = js_AckExplicit;
  durable.Config.MaxAckPending = unacknowledged_max;
  const auto subscription = subscribe(subscriber, stream.name(), durable, take_and_ack, &deliveries);
  Payloads payloads(options.size);
  const Pace pace(options.rate);
  for (std::uint64_t at = 0; at < options.count; ++at) {
    readable(-1, pace.due(at));
    publisher.publish_soon(stream.name(), payloads.next(pace.due(at)));
  }
  Measured measured;
  measured.lost = deliveries.tally.wait(options.patience);
  if (receipts.tally.wait(options.patience) > 0 || receipts.refused > 0) throw Failed("events were not acknowledged; look at the server's log");
  measured.took = deliveries.tally.completed() - pace.due(0);
  unsubscribe(subscription);
  measured.latency = std::move(deliveries.latencies);
  measured.receipt = std::move(receipts.latencies);
  measured.settings = {{"rate", options.rate}, {"consumer", "durable push, explicit acks"}, {"storage", storage(options)}};
  return measured;
}

void count_event(natsConnection*, natsSubscription*, natsMsg* event, void* closure) {
  const Message owned(event);
  static_cast<Tally*>(closure)->add();
}

struct Reader {
  explicit Reader(const Options& options) : arrived(options.count), link(options, false) {}
  Tally arrived;
  Link link;
  Subscription subscription;
};

Measured fanout(const Options& options) {
  Link publisher(options, false);
  const Stream stream(publisher, "bench-fanout");
  std::vector<std::unique_ptr<Reader>> readers;
  for (unsigned at = 0; at < options.subscribers; ++at) {
    auto& reader = *readers.emplace_back(std::make_unique<Reader>(options));
    jsSubOptions ephemeral;
    jsSubOptions_Init(&ephemeral);
    ephemeral.Config.AckPolicy = js_AckNone;
    reader.subscription = subscribe(reader.link, stream.name(), ephemeral, count_event, &reader.arrived);
  }
  const auto begun = now();
  publish_all(publisher, stream.name());
  Measured measured;
  for (const auto& reader : readers) measured.lost += reader->arrived.wait(options.patience);
  for (const auto& reader : readers) measured.took = std::max<Duration>(measured.took, reader->arrived.completed() - begun);
  for (const auto& reader : readers) unsubscribe(reader->subscription);
  measured.settings = {{"subscribers", options.subscribers}, {"window", publisher.window()}, {"consumer", "ephemeral push, no acks"},
                       {"storage", storage(options)}};
  return measured;
}

Measured replay(const Options& options) {
  Link link(options, false);
  check_stored(link);
  Tally arrived(options.count);
  jsSubOptions ordered;
  jsSubOptions_Init(&ordered);
  ordered.Ordered = true;
  const auto begun = now();
  const auto subscription = subscribe(link, stored_log, ordered, count_event, &arrived);
  Measured measured;
  const auto missing = arrived.wait(options.patience);
  if (missing > 0) throw Failed(std::to_string(missing) + " events did not come; look at the server's log");
  measured.took = arrived.completed() - begun;
  unsubscribe(subscription);
  measured.settings = {{"consumer", "ordered"}};
  return measured;
}

// ---- consuming

// PullConsumer is a durable one from the beginning of the log, which is taken away at the end.
class PullConsumer {
 public:
  explicit PullConsumer(Link& link) : link_(link) {
    remove();
    jsSubOptions how;
    jsSubOptions_Init(&how);
    how.Stream = stored_log;
    how.Config.AckPolicy = js_AckExplicit;
    how.Config.DeliverPolicy = js_DeliverAll;
    how.Config.MaxAckPending = unacknowledged_max;
    natsSubscription* made = nullptr;
    jsErrCode code{};
    check(js_PullSubscribe(&made, link.context(), stored_log, name, nullptr, &how, &code), code, "subscribing");
    subscription_.reset(made);
  }
  ~PullConsumer() { remove(); }
  PullConsumer(const PullConsumer&) = delete;
  PullConsumer& operator=(const PullConsumer&) = delete;

  // How many came, and have been acknowledged; the last one of all so that the server has confirmed it.
  std::uint64_t take(unsigned most, bool last) {
    natsMsgList events{};
    const auto status = natsSubscription_Fetch(&events, subscription_.get(), static_cast<int>(most), milliseconds(link_.options().patience), nullptr);
    check(status, "fetching events");
    for (int at = 0; at < events.Count; ++at) {
      const bool confirm = last && static_cast<unsigned>(at) + 1 == most;
      check(confirm ? natsMsg_AckSync(events.Msgs[at], nullptr, nullptr) : natsMsg_Ack(events.Msgs[at], nullptr), "acknowledging");
    }
    const auto taken = static_cast<std::uint64_t>(events.Count);
    natsMsgList_Destroy(&events);
    return taken;
  }

  std::uint64_t unacknowledged() const {
    jsConsumerInfo* info = nullptr;
    check(natsSubscription_GetConsumerInfo(&info, subscription_.get(), nullptr, nullptr), "asking for acknowledgements");
    const Owned<jsConsumerInfo, jsConsumerInfo_Destroy> owned(info);
    return static_cast<std::uint64_t>(info->NumAckPending);
  }

 private:
  static constexpr const char* name = "bench-consume";

  void remove() { js_DeleteConsumer(link_.context(), stored_log, name, nullptr, nullptr); }

  Link& link_;
  Subscription subscription_;
};

Measured consume(const Options& options) {
  Link link(options, false);
  check_stored(link);
  PullConsumer consumer(link);
  const std::uint64_t batch = options.batch.value_or(batch_default);
  const auto begun = now();
  for (std::uint64_t taken = 0; taken < options.count;) {
    const auto left = options.count - taken;
    taken += consumer.take(static_cast<unsigned>(std::min(batch, left)), left <= batch);
  }
  Measured measured;
  measured.took = now() - begun;
  if (consumer.unacknowledged() > 0) throw Failed("the server lacks acknowledgements that were sent");
  measured.settings = {{"batch", batch}, {"consumer", "durable pull, explicit acks"}};
  return measured;
}

}  // namespace

}  // namespace bus::bench

int main(int argc, char** argv) {
  using namespace bus::bench;
  return run(argc, argv, {"nats", "The server has written the event to its file, which it syncs every two minutes.", {.in_memory = true},
                          {{"prepare", prepare}, {"publish", publish}, {"publish-each", publish_one_by_one}, {"e2e", e2e},
                           {"consume", consume}, {"replay", replay}, {"fanout", fanout}}});
}
