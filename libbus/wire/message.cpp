#include "wire/message.hpp"

namespace bus::wire {

namespace {

flatbuffers::Verifier::Options tight() {
  flatbuffers::Verifier::Options options;
  options.max_depth = limits::verifier_depth_max;
  options.max_tables = limits::batch_events_max * 4;  // a PublishResult may refuse every event of a batch
  return options;
}

}  // namespace

Result<const Message*> parse(Bytes frame) {
  if (frame.size() > limits::header_bytes_max) {
    return Error{Code::malformed, "the header frame has " + std::to_string(frame.size()) + " bytes, the limit is " +
                                      std::to_string(limits::header_bytes_max)};
  }
  if (frame.size() < 8 || !MessageBufferHasIdentifier(frame.data())) {
    return Error{Code::malformed, "the header frame is not a BUS1 message"};
  }
  flatbuffers::Verifier verifier(frame.data(), frame.size(), tight());
  if (!VerifyMessageBuffer(verifier)) return Error{Code::malformed, "the header frame does not verify"};
  const Message* message = GetMessage(frame.data());
  if (message->body_type() == Body::NONE || message->body() == nullptr || message->body_type() > Body::MAX) {
    return Error{Code::malformed, "the message has no body, or one of an unknown kind"};
  }
  return message;
}

Buffer encode(Body kind, const BodyMaker& make) {
  flatbuffers::FlatBufferBuilder builder(256);
  const auto body = make(builder);
  FinishMessageBuffer(builder, CreateMessage(builder, kind, body));
  return copy_of({builder.GetBufferPointer(), builder.GetSize()});
}

Buffer encode_failure(const Error& error, std::uint64_t request, std::uint32_t subscription, std::uint64_t sequence) {
  FailureT failure;
  failure.code = error.code;
  failure.detail = error.detail;
  failure.request = request;
  failure.subscription = subscription;
  failure.sequence = sequence;
  return encode(failure);
}

}  // namespace bus::wire
