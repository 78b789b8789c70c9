"""The results, for people and for programs."""

import textwrap

from .ratios import Spread, ratios, reached, values
from .workloads import FIGURES, FLOORS

METHOD = """\
Systems in turn, round after round; a ratio is of one round, and its median over the rounds counts (smallest..largest).
Each workload has servers of its own, started with empty data. Before the rounds each system runs the workload once,
untimed, at full size, so that memory and files have been touched. Before each measurement all servers have come to rest,
and then comes a sync(), so that no system pays for what another has left unwritten. Counts differ, so that a round takes
each some seconds; rates are compared. All servers and clients share this machine; busd is reached over a Unix socket, the
peers over TCP on loopback, as is usual."""

OTHERS_MAX = 0.05  # of all processors


def verdicts(workload, outcomes):
    """(demand, True, False or None) of each demand."""
    rounds = {name: outcome.rounds for name, outcome in outcomes.items()}
    return [(demand, reached(demand, rounds)) for demand in workload.demands]


def number(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread_text(spread):
    return f"{number(spread.median)} ({number(spread.min)}..{number(spread.max)})"


def yes_or_no(answer):
    return {True: "yes", False: "NO", None: "not known"}[answer]


def note(name, outcome):
    """What the figures do not tell: failures and settings."""
    settings = ", ".join(f"{setting} {value}" for setting, value in outcome.settings.items())
    text = f"FAILED: {outcome.failed}" if outcome.failed else f"cannot do it: {outcome.cannot}" if outcome.cannot else settings
    return f"{name}, {outcome.count:,} events" + (f": {text}" if text else "")


def row(name, figure, workload, outcomes):
    """Cells of one system: its median, busd's ratio to it, what is demanded, whether it is reached, what its receipts are worth."""
    outcome = outcomes[name]
    found = values(outcome.rounds, figure)
    own = name == "busd"
    against = [] if own else ratios(outcomes["busd"].rounds, outcome.rounds, figure) if "busd" in outcomes else []
    judged = [(demand, answer) for demand, answer in verdicts(workload, outcomes)
              if demand.figure == figure and demand.against == (None if own else name)]
    return (name, number(Spread.of(found).median) if found else "-", spread_text(Spread.of(against)) if against else "",
            "; ".join(str(demand) for demand, _ in judged), "; ".join(yes_or_no(answer) for _, answer in judged), outcome.acknowledged)


def figure_lines(figure, workload, outcomes):
    unit, more = FIGURES[figure]
    rows = [cells for cells in (row(name, figure, workload, outcomes) for name in outcomes) if cells[1] != "-" or cells[3]]
    if not rows:
        return []
    head = (f"{unit}, {'more' if more else 'less'} is better", "median", "busd / it (min..max)", "demanded of busd", "reached", "an acknowledgement means")
    table = [head, *rows]
    widths = [max(len(cells[at]) for cells in table) for at in range(len(head))]
    widths[0] = max(widths[0], 30)
    return ["  " + "  ".join(cell.rjust(width) if at == 1 else cell.ljust(width) for at, (cell, width) in enumerate(zip(cells, widths))).rstrip()
            for cells in table]


def workload_lines(workload, outcomes):
    lines = ["", f"{workload.name}: {workload.what}"]
    for figure in workload.shows:
        lines += figure_lines(figure, workload, outcomes)
    for name, outcome in outcomes.items():
        lines += textwrap.wrap(note(name, outcome), 120, initial_indent="    ", subsequent_indent="      ")
    return lines


def header_lines(report):
    machine, lines = report["machine"], []
    lines.append(f"busd {report['versions'].get('busd', '')} at commit {report['commit']}, {report['rounds']} rounds, {report['date']}")
    lines.append("{processor}, {cores} cores, {memory_gib} GiB; {system}, Linux {kernel}; data on {file_system}".format(**machine))
    lines.append(", ".join(f"{name} {version}" for name, version in report["versions"].items() if name != "busd"))
    lines += [f"  {name}: {settings}" for name, settings in report["servers"].items() if name not in FLOORS]
    warning = ["", "A quick run: its figures mean nothing."] if report["quick"] else []
    return [*lines, "", METHOD, *warning]


def others_line(others):
    """How noisy it was, from what other programs did while ours rested."""
    text = "Other programs kept {median:.0%} of the processors busy while ours rested ({min:.0%}..{max:.0%})".format(**others)
    return text + ("; measure again when they do not." if others["median"] > OTHERS_MAX else ".")


def show(report, races):
    """The whole of it as text. `races`: (workload, outcomes) of each."""
    lines = header_lines(report)
    if report["others"]:
        lines += ["", others_line(report["others"])]
    for workload, outcomes in races:
        lines += workload_lines(workload, outcomes)
    for answer, what in ((False, "not reached"), (None, "not known, because one side was not measured")):
        found = [f"{workload.name}: {demand.figure} {demand}" for workload, outcomes in races
                 for demand, said in verdicts(workload, outcomes) if said is answer]
        if found:
            lines += ["", f"{what.capitalize()}:", *(f"  {text}" for text in found)]
    return "\n".join(lines)


def demand_json(demand, answer, outcomes):
    theirs = outcomes[demand.against].rounds if demand.against in outcomes else []
    ours = outcomes["busd"].rounds if "busd" in outcomes else []
    found = values(ours, demand.figure) if demand.against is None else ratios(ours, theirs, demand.figure)
    spread = Spread.of(found)
    return {"figure": demand.figure, "against": demand.against, "demanded": str(demand), "reached": answer,
            "ratio": vars(spread) if spread else None, "ratios": found}


def workload_json(workload, outcomes):
    systems = {name: {"median": {figure: Spread.of(values(outcome.rounds, figure)).median
                                 for figure in workload.shows if values(outcome.rounds, figure)}, **vars(outcome)}
               for name, outcome in outcomes.items()}
    return {"name": workload.name, "what": workload.what, "figures": {name: FIGURES[name][0] for name in workload.shows}, "systems": systems,
            "demands": [demand_json(demand, answer, outcomes) for demand, answer in verdicts(workload, outcomes)]}
