#include "tools/saga_diagram.hpp"

#include <map>
#include <vector>

namespace bus::tools {

namespace {

using suoke::saga::CompensationKind;
using suoke::saga::SagaDefinedT;
using suoke::saga::StepDefinedT;
using suoke::saga::StepKind;

// What is drawn alike: waiting, at work, done, in trouble, undone.
struct Look {
  const char* name;
  const char* fill;
};
constexpr Look looks[] = {{"pending", "#eeeeee"}, {"active", "#fff2b3"}, {"done", "#c8e6c9"}, {"trouble", "#ffcdd2"}, {"undone", "#d1c4e9"}};

const Look& look_of(const std::string& status) {
  static const std::map<std::string, int> known = {{"running", 1}, {"retrying", 1}, {"compensating", 1}, {"compensation_retrying", 1}, {"completed", 2}, {"skipped", 2}, {"parked", 3},
                                                   {"failed", 3}, {"compensation_parked", 3}, {"compensation_failed", 3}, {"compensated", 4}};
  const auto it = known.find(status);
  return looks[it == known.end() ? 0 : it->second];
}

struct DrawnNode {
  std::string id;
  std::vector<std::string> lines;        // of its label
  const Look* look = nullptr;            // null: as any other
  bool is_pivot = false;
};

// One text in one of the two languages.
class Drawing {
 public:
  explicit Drawing(DiagramFormat format) : is_dot_(format == DiagramFormat::dot) {}

  std::string draw(const SagaDefinedT& definition, const saga::Report* report) {
    out_ = is_dot_ ? "digraph saga {\n  node [shape=box, style=filled, fillcolor=white];\n" : "flowchart TD\n";
    std::vector<std::string> title = {report != nullptr ? report->saga_id : definition.name};
    if (report != nullptr) title.push_back(state_of(*report));
    if (!definition.input_type.empty()) title.push_back(definition.input_type);
    end_node("begin", title);
    std::vector<std::string> before = {"begin"};
    for (std::size_t from = 0; from < definition.steps.size();) {
      auto to = from;
      while (to < definition.steps.size() && definition.steps[to]->stage == definition.steps[from]->stage) ++to;
      before = stage(definition, from, to, before, report);
      from = to;
    }
    end_node("finish", {"completed"});
    for (const auto& one : before) edge(one, "finish");
    return out_ + finish();
  }

 private:
  // Its steps, after those of the stage before. Returns their nodes.
  std::vector<std::string> stage(const SagaDefinedT& definition, std::size_t from, std::size_t to, const std::vector<std::string>& before, const saga::Report* report) {
    std::vector<std::string> ids;
    const bool is_group = to - from > 1;
    const auto number = std::to_string(definition.steps[from]->stage);
    if (is_group) out_ += is_dot_ ? "  subgraph cluster_" + number + " {\n  label=\"at once\";\n" : "  subgraph group" + number + " [at once]\n";
    for (auto at = from; at < to; ++at) {
      ids.push_back("step" + std::to_string(at));
      node(step_node(ids.back(), *definition.steps[at], report));
    }
    if (is_group) out_ += is_dot_ ? "  }\n" : "  end\n";
    for (auto at = from; at < to; ++at) {
      for (const auto& one : before) edge(one, "step" + std::to_string(at));
      undo(*definition.steps[at], at);
    }
    return ids;
  }

  static DrawnNode step_node(const std::string& id, const StepDefinedT& step, const saga::Report* report) {
    DrawnNode node{id, {step.name}, nullptr, step.pivot};
    if (step.pivot) node.lines.emplace_back("pivot");
    if (step.kind == StepKind::remote) node.lines.push_back("command to " + step.topic);
    if (step.kind == StepKind::signal) node.lines.push_back("signal " + step.signal);
    if (report == nullptr) return node;
    for (const auto& one : report->steps) {
      if (one.name != step.name) continue;
      node.look = &look_of(one.status);
      node.lines.push_back(one.status + (one.attempt > 1 ? ", attempt " + std::to_string(one.attempt) : ""));
      if (!one.error.empty()) node.lines.push_back(one.error);
    }
    return node;
  }
  void undo(const StepDefinedT& step, std::size_t at) {
    if (step.compensation != CompensationKind::local && step.compensation != CompensationKind::remote) return;
    const std::string id = "undo" + std::to_string(at);
    DrawnNode undo{id, {"undo " + step.name}};
    if (step.compensation == CompensationKind::remote) undo.lines.push_back("command to " + step.compensation_topic);
    if (step.parks) undo.lines.emplace_back("parks if it fails");
    node(undo);
    const std::string from = "step" + std::to_string(at);
    out_ += is_dot_ ? "  " + from + " -> " + id + " [style=dashed, constraint=false];\n" : "  " + from + " -.-> " + id + "\n";
  }

  void node(const DrawnNode& node) {
    const auto text = label(node.lines);
    if (is_dot_) {
      out_ += "  " + node.id + " [label=" + text + (node.is_pivot ? ", shape=hexagon" : "") + (node.look != nullptr ? std::string(", fillcolor=\"") + node.look->fill + "\"" : "") + "];\n";
    } else {
      out_ += "  " + node.id + (node.is_pivot ? "{{" : "[") + text + (node.is_pivot ? "}}" : "]") + (node.look != nullptr ? std::string(":::") + node.look->name : "") + "\n";
    }
  }
  void end_node(const std::string& id, const std::vector<std::string>& lines) {
    out_ += is_dot_ ? "  " + id + " [label=" + label(lines) + ", shape=oval];\n" : "  " + id + "([" + label(lines) + "])\n";
  }
  void edge(const std::string& from, const std::string& to) { out_ += "  " + from + (is_dot_ ? " -> " + to + ";\n" : " --> " + to + "\n"); }
  std::string finish() const {
    if (is_dot_) return "}\n";
    std::string classes;
    for (const auto& look : looks) classes += std::string("  classDef ") + look.name + " fill:" + look.fill + "\n";
    return classes;
  }

  std::string label(const std::vector<std::string>& lines) const {
    std::string text;
    for (const auto& line : lines) text += (text.empty() ? "" : is_dot_ ? "\\n" : "<br/>") + escaped(line);
    return "\"" + text + "\"";
  }
  // Nothing in a label may end it, or say something to who draws it.
  std::string escaped(const std::string& text) const {
    std::string out;
    for (const char c : text) {
      const auto code = static_cast<unsigned char>(c);
      const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || code >= 0x80;
      if (code < 0x20 || code == 0x7F) out += ' ';
      else if (is_dot_) out += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
      else out += is_letter || std::string_view(" -_.:/,()").find(c) != std::string_view::npos ? std::string(1, c) : "#" + std::to_string(code) + ";";
    }
    return out;
  }
  static std::string state_of(const saga::Report& report) {
    return report.status + (report.is_paused ? ", paused" : "") + (report.is_parked ? ", parked" : "") + (report.is_cancelled && !report.ended_at ? ", cancelled" : "");
  }

  bool is_dot_;
  std::string out_;
};

}  // namespace

std::string saga_diagram(DiagramFormat format, const suoke::saga::SagaDefinedT& definition, const saga::Report* report) { return Drawing(format).draw(definition, report); }

}  // namespace bus::tools
