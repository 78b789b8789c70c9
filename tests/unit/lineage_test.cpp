// Goal: the conversation of an event is found in one pass in whatever order its events come, keeps within its limits and says so;
// and the tree has every event once, whatever their causes say.
// Method: ties and nodes made by hand; no broker.
#include "tools/lineage.hpp"

#include <gtest/gtest.h>

namespace bus::tools {
namespace {

Ties tie(std::uint64_t position, std::string_view id, std::string_view cause = "", std::string_view correlation = "") {
  return {id, cause, correlation, Position{position}};
}

std::vector<std::uint64_t> gathered(Conversation& conversation, const std::vector<Ties>& log) {
  for (const auto& event : log) conversation.take(event);
  std::vector<std::uint64_t> positions;
  for (const auto position : conversation.events()) positions.push_back(number(position));
  return positions;
}

using Positions = std::vector<std::uint64_t>;

TEST(Lineage, ReadsTheTimeInAnId) {
  EXPECT_EQ(nanoseconds(*time_in_id("017f22e2-79b0-7cc3-98c4-dc0c0c07398f")), 1645557742000 * 1'000'000);
  for (const auto* id : {"", "n-1", "017f22e2-79b0-4cc3-98c4-dc0c0c07398f", "017f22e2x79b0-7cc3-98c4-dc0c0c07398f", "017f22e2-79bx-7cc3-98c4-dc0c0c07398f"}) {
    EXPECT_FALSE(time_in_id(id)) << id;
  }
}

TEST(Lineage, FindsAllOfACorrelationIdOnBothSidesOfTheEventNamed) {
  const std::vector<Ties> log = {tie(1, "a", "", "c"), tie(2, "x", "", "d"), tie(3, "y"), tie(4, "b", "a", "c"), tie(5, "z", "b"), tie(6, "e", "b", "c")};
  Conversation by_id("b", {});
  EXPECT_EQ(gathered(by_id, log), (Positions{1, 4, 6}));
  EXPECT_EQ(by_id.named(), Position{4});
  Conversation by_position(log[3], {});
  EXPECT_EQ(gathered(by_position, log), (Positions{1, 4, 6}));
}

TEST(Lineage, FollowsCausesWhereThereIsNoCorrelationId) {
  // a ─► b ─► d, a ─► c; the root says nothing of a conversation, and is found by its id.
  const std::vector<Ties> log = {tie(1, "a"), tie(2, "b", "a"), tie(3, "c", "a", "other"), tie(4, "x", "y"), tie(5, "d", "b"), tie(6, "w")};
  for (const auto* id : {"b", "d"}) {
    Conversation conversation(id, {});
    EXPECT_EQ(gathered(conversation, log), (Positions{2, 3, 5})) << id;
  }
  Conversation root("a", {});
  EXPECT_EQ(gathered(root, log), (Positions{1, 2, 3, 5}));
}

TEST(Lineage, FindsAnEffectThatComesBeforeItsCause) {
  Conversation conversation("a", {});
  EXPECT_EQ(gathered(conversation, {tie(1, "c", "b"), tie(2, "b", "a"), tie(3, "a")}), (Positions{1, 2, 3}));
}

TEST(Lineage, EndsWithACircleOfCauses) {
  Conversation conversation("b", {});
  EXPECT_EQ(gathered(conversation, {tie(1, "a", "c"), tie(2, "b", "a"), tie(3, "c", "b"), tie(4, "d", "c")}), (Positions{1, 2, 3, 4}));
  Conversation own("s", {});
  EXPECT_EQ(gathered(own, {tie(1, "s", "s")}), (Positions{1}));
}

TEST(Lineage, KeepsAsManyAsItMayAndTheEventNamed) {
  const std::vector<Ties> log = {tie(1, "a", "", "c"), tie(2, "b", "a", "c"), tie(3, "d", "a", "c"), tie(4, "e", "a", "c")};
  Conversation late("e", {.events = 2});
  EXPECT_EQ(gathered(late, log), (Positions{1, 4}));
  EXPECT_TRUE(late.is_full());
  Conversation early(log[0], {.events = 2});
  EXPECT_EQ(gathered(early, log), (Positions{1, 2}));
  EXPECT_TRUE(early.is_full());
  EXPECT_FALSE(early.has_too_many_links());
  Conversation all("e", {.events = 4});
  EXPECT_EQ(gathered(all, log), (Positions{1, 2, 3, 4}));
  EXPECT_FALSE(all.is_full());
  Conversation linked("a", {.events = 2});
  EXPECT_EQ(gathered(linked, {tie(1, "a"), tie(2, "b", "a"), tie(3, "d", "a")}).size(), 2u);
  EXPECT_TRUE(linked.is_full());
}

TEST(Lineage, ReadsAgainWhatItCouldNotKeep) {
  const std::vector<Ties> log = {tie(1, "a", "", "c"), tie(2, "x", "", "d"), tie(3, "y", "", "d"), tie(4, "b", "a", "c")};
  Conversation conversation("b", {.links = 2});
  EXPECT_EQ(gathered(conversation, log), (Positions{1, 4}));
  EXPECT_TRUE(conversation.has_missed());
  conversation.forget();
  EXPECT_EQ(gathered(conversation, log), (Positions{1, 4}));
  EXPECT_FALSE(conversation.has_missed() || conversation.is_full());
}

TEST(Lineage, SaysThatItCannotKeepAllThatHasCauses) {
  Conversation conversation(tie(1, "a"), {.links = 3});
  EXPECT_EQ(gathered(conversation, {tie(1, "a"), tie(2, "x", "y"), tie(3, "b", "a"), tie(4, "d", "b")}), (Positions{1, 3}));
  EXPECT_TRUE(conversation.has_too_many_links());
}

// ---- the tree

Node node(std::uint64_t position, std::string id, std::string cause = "") {
  Node made;
  made.position = Position{position};
  made.id = std::move(id);
  made.cause = std::move(cause);
  return made;
}

// "1 .2 ..3": depth as dots, then the position, `?ID` for a cause that is missing, `~` for a circle.
std::string drawn(std::vector<Node> nodes) {
  std::string text;
  for (const auto& line : tree_of(nodes)) {
    text += (text.empty() ? "" : " ") + std::string(line.depth, '.');
    text += line.node == nullptr ? "?" + std::string(line.missing) : std::to_string(number(line.node->position));
    if (line.cause == TreeLine::Cause::cycle) text += '~';
    if (line.cause == TreeLine::Cause::not_followed) text += '^';
  }
  return text;
}

TEST(Lineage, PutsEffectsBelowCausesInTheOrderOfTheLog) {
  EXPECT_EQ(drawn({node(6, "f", "b"), node(1, "a"), node(2, "b", "a"), node(3, "c", "a"), node(4, "d", "b"), node(5, "e")}), "1 .2 ..4 ..6 .3 5");
}

TEST(Lineage, PutsALineWhereACauseIsMissing) {
  EXPECT_EQ(drawn({node(1, "a"), node(2, "b", "gone"), node(3, "c", "b"), node(4, "d", "gone"), node(5, "e", "lost")}), "1 ?gone .2 ..3 .4 ?lost .5");
}

TEST(Lineage, DoesNotFollowTheCauseOfAnotherConversation) {
  auto outside = node(1, "a", "gone");
  outside.is_outside = true;
  EXPECT_EQ(drawn({outside, node(2, "b", "a")}), "1^ .2");
}

TEST(Lineage, BeginsACircleWithItsFirstEvent) {
  EXPECT_EQ(drawn({node(2, "a", "c"), node(3, "b", "a"), node(4, "c", "b"), node(1, "d", "c"), node(5, "s", "s")}), "2~ .3 ..4 ...1 5~");
}

TEST(Lineage, TakesTheFirstOfSeveralWithOneIdForTheCause) {
  EXPECT_EQ(drawn({node(1, "a"), node(2, "a"), node(3, "b", "a")}), "1 .3 2");
}

TEST(Lineage, KnowsTheLastLineOfEachLevel) {
  std::vector<Node> nodes = {node(1, "a"), node(2, "b", "a"), node(3, "c", "a"), node(4, "d", "gone"), node(5, "e", "gone")};
  std::vector<bool> last;
  for (const auto& line : tree_of(nodes)) {
    if (line.depth > 0) last.push_back(line.is_last);
  }
  EXPECT_EQ(last, (std::vector<bool>{false, true, false, true}));
}

TEST(Lineage, DrawsALongChain) {
  constexpr std::size_t length = 100'000;
  std::vector<Node> nodes;
  for (std::size_t at = 0; at < length; ++at) nodes.push_back(node(at + 1, "e" + std::to_string(at), at == 0 ? "" : "e" + std::to_string(at - 1)));
  const auto lines = tree_of(nodes);
  ASSERT_EQ(lines.size(), length);
  EXPECT_EQ(lines.back().depth, length - 1);
}

}  // namespace
}  // namespace bus::tools
