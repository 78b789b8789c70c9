"""What a figure depends on beside the program: processor, memory, kernel, file system."""

import os
import platform
import re
import subprocess
from pathlib import Path


def first(pattern, path, default="unknown"):
    try:
        found = re.search(pattern, Path(path).read_text(encoding="utf-8"), re.M)
    except OSError:
        return default
    return found.group(1).strip() if found else default


def file_system(path):
    """Type, device and options of the mount that has `path`."""
    path, best, text = os.path.realpath(path), "", "unknown"
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return text
    for line in lines:
        before, _, after = line.partition(" - ")
        point, options = before.split()[4:6]
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            kind, device, *_ = after.split()
            best, text = point, f"{kind} on {device} ({options})"
    return text


def processor_time():
    """(busy, all) ticks of all processors since the start; what a hypervisor has taken counts as busy."""
    ticks = [int(field) for field in first(r"^cpu +(.*)", "/proc/stat", "0").split()[:8]]
    idle = sum(ticks[3:5])
    return sum(ticks) - idle, sum(ticks)


def busy_part(before, after):
    return (after[0] - before[0]) / max(1, after[1] - before[1])


def describe(data):
    memory_kib = int(first(r"^MemTotal:\s*(\d+)", "/proc/meminfo", "0"))
    return {
        "processor": first(r"^model name\s*:\s*(.*)", "/proc/cpuinfo"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_kib / 1024 / 1024, 1),
        "kernel": platform.release(),
        "system": first(r'^PRETTY_NAME="(.*)"', "/etc/os-release"),
        "file_system": file_system(data),
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def commit(project):
    try:
        result = subprocess.run(["git", "-C", project, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return result.stdout.strip() or "unknown"
