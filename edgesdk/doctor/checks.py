"""What the facts of a machine mean for what it is to do: pure, one function per thing looked at.

A problem stops the use that was chosen, a note costs speed, memory or certainty. Both say what to
do, in a sentence and, where there is one, by a command.
"""

from typing import Callable, List, NamedTuple, Sequence

from .facts import Facts

CPU, TENSORRT = "cpu", "tensorrt"  # what a machine may be used for
USES = (CPU, TENSORRT)
OK, NOTE, PROBLEM = "ok", "note", "problem"
LEVELS = (PROBLEM, NOTE, OK)  # as they are shown

MIB, GIB = 1 << 20, 1 << 30
SMALL_MEMORY_BYTES = 9 * GIB  # a board of 8 GB or less: memory is what runs out first
BUILD_BYTES = 1 * GIB  # building an engine takes about as much
RUN_BYTES = 256 * MIB
DISK_BYTES = 2 * GIB
HOT_CELSIUS = 85.0
OUTSIDE = " (Outside this container.)"  # of what changes the machine


class Check(NamedTuple):
    """One thing that was looked at: what was found, and for notes and problems what to do."""

    name: str
    level: str
    found: str
    advice: str = ""
    command: str = ""


def default_use(facts: Facts) -> str:
    """What a machine is for if nobody says: a Jetson has its GPU."""
    return TENSORRT if facts.machine.is_jetson else CPU


def judged(facts: Facts, use: str, looks: "Sequence[Look]") -> List[Check]:
    """What `looks` say, in the order that helps: problems, notes, the rest, each in their order."""
    checks = [_carefully(look, facts, use) for look in looks]
    return sorted(checks, key=lambda check: LEVELS.index(check.level))


def _carefully(look: "Look", facts: Facts, use: str) -> Check:
    """A machine that is odder than we thought of is no reason to say nothing of the rest."""
    try:
        check = look(facts, use)
    except Exception as error:
        name = look.__name__.replace("_", " ")
        found = "cannot be judged ({}: {})".format(type(error).__name__, error)
        return Check(name, NOTE, found, "Please report this, with the output of --json.")
    if check.level == OK and check.advice:
        return Check(check.name, OK, "not needed; " + check.found)
    if facts.machine.is_container and check.command.startswith("sudo "):
        return check._replace(advice=check.advice + OUTSIDE)
    return check


Look = Callable[[Facts, str], Check]


# --- what it is -----------------------------------------------------------------------------------


def identity(facts: Facts, use: str) -> Check:
    """Machine, release and system: for who reads the rest."""
    machine = facts.machine
    words = [machine.model or ("a Jetson" if machine.is_jetson else facts.python.architecture)]
    if machine.jetpack:
        words.append("JetPack " + machine.jetpack)
    if machine.l4t:
        words.append("L4T {}.{}".format(*machine.l4t))
    words += [machine.os, machine.kernel and "Linux " + machine.kernel]
    if machine.is_container:
        words.append("in a container")
    return Check("machine", OK, ", ".join(filter(None, words)))


def python(facts: Facts, use: str) -> Check:
    """Which interpreter speaks."""
    found = "{}, {}".format(facts.python.version, facts.python.path)
    return Check("Python", OK, found + (" (virtual environment)" * facts.python.is_environment))


# --- room -----------------------------------------------------------------------------------------


def size(count: int) -> str:
    """ "3.9 GiB"."""
    return "{:.1f} GiB".format(count / GIB) if count >= GIB else "{:.0f} MiB".format(count / MIB)


def _is_small(facts: Facts) -> bool:
    return facts.machine.is_jetson and (facts.room.memory_bytes or 0) < SMALL_MEMORY_BYTES


def memory(facts: Facts, use: str) -> Check:
    """Too little free memory: engines that build slow, or not at all."""
    room = facts.room
    if room.memory_bytes is None or room.available_bytes is None:
        return Check("memory", OK, "not told")
    found = "{} free of {}".format(size(room.available_bytes), size(room.memory_bytes))
    needed = BUILD_BYTES if use == TENSORRT else RUN_BYTES
    if room.available_bytes >= needed:
        return Check("memory", OK, found)
    what = "build engines with" if use == TENSORRT else "run with"
    advice = "End other programs: {} or more are good to {}.".format(size(needed), what)
    return Check("memory", NOTE, found, advice, "ps aux --sort=-rss | head")


def desktop(facts: Facts, use: str) -> Check:
    """A desktop that runs where memory is short."""
    if not facts.room.desktop:
        return Check("desktop", OK, "none")
    if not _is_small(facts):
        return Check("desktop", OK, facts.room.desktop)
    return Check(
        "desktop",
        NOTE,
        "{} runs".format(facts.room.desktop),
        "It takes about 1 GB; start without it from the next boot on.",
        "sudo systemctl set-default multi-user.target",
    )


def swap(facts: Facts, use: str) -> Check:
    """Swap on disk, where builds of engines take more memory than there is."""
    swaps = facts.room.swaps
    on_disk = [each for each in swaps if not each.is_compressed_memory]
    compressed_bytes = sum(each.total_bytes for each in swaps if each.is_compressed_memory)
    words = ["{} {}".format(size(each.total_bytes), each.path) for each in on_disk]
    if compressed_bytes:
        words.append("{} zram".format(size(compressed_bytes)))
    found = ", ".join(words) or "none"
    if on_disk or use == CPU or not _is_small(facts):
        return Check("swap", OK, found)
    advice = "Building an engine may end with 'Killed' for want of memory; make a swap file."
    command = (
        "sudo fallocate -l 4G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile && "
        "sudo swapon /swapfile"
    )
    if compressed_bytes:
        advice += " zram needs the memory that it saves: if it is still killed, switch that off."
        command += "\nsudo systemctl disable nvzramconfig"
    return Check("swap", NOTE, found, advice, command)


def disk(facts: Facts, use: str) -> Check:
    """Room for engines, traces and packages where this was started."""
    free = facts.room.disk_free_bytes
    if free is None:
        return Check("disk", OK, "not told")
    found = "{} free here".format(size(free))
    if free >= DISK_BYTES:
        return Check("disk", OK, found)
    advice = "Make room: engines and packages take some GB."
    return Check("disk", NOTE, found, advice, "sudo apt-get clean")


# --- speed ----------------------------------------------------------------------------------------


def power_mode(facts: Facts, use: str) -> Check:
    """Whether a faster mode than the one that is set is there."""
    mode = facts.power_mode
    if mode is None:
        return Check("power mode", OK, "not told" if facts.machine.is_jetson else "none")
    found = "{} ({})".format(mode.name or "unnamed", mode.number)
    fastest = [number for number, name in sorted(mode.names.items()) if name.startswith("MAXN")]
    if not fastest or mode.number in fastest:
        return Check("power mode", OK, found)
    return Check(
        "power mode",
        NOTE,
        found,
        "{} is faster, and takes more power and a supply that gives it.".format(
            mode.names[fastest[-1]]
        ),
        "sudo nvpmodel -m {}".format(fastest[-1]),
    )


def clocks(facts: Facts, use: str) -> Check:
    """Whether clocks are pinned."""
    if not facts.clocks:
        return Check("clocks", OK, "not told")
    words = []
    for clock in facts.clocks:
        ends = [clock.min_mhz, clock.max_mhz]
        span = "-".join("?" if end is None else "{:.0f}".format(end) for end in ends)
        fixed = clock.is_pinned and "{:.0f}".format(clock.max_mhz or 0)
        words.append("{} {} MHz ({})".format(clock.name, fixed or span, clock.governor or "?"))
    found = ", ".join(words if len(words) < 5 else words[:3] + ["..."] + words[-1:])
    if all(clock.is_pinned for clock in facts.clocks):
        return Check("clocks", OK, "pinned: " + found)
    if not facts.machine.is_jetson:
        return Check("clocks", OK, found)
    return Check(
        "clocks",
        NOTE,
        found,
        "They follow the load, so that what is measured moves; pin them before you measure.",
        "sudo jetson_clocks",
    )


def heat(facts: Facts, use: str) -> Check:
    """Temperature, and clocks that are held down by it or by the supply."""
    zones = facts.sensed["temperature_c"]
    hottest = max(zones, key=lambda zone: (zones[zone], zone)) if zones else ""
    found = "{} {:.1f} C".format(hottest, zones[hottest]) if zones else "no thermometer"
    if facts.held.cooling:
        found += "; clocks are held down: " + ", ".join(facts.held.cooling)
    if facts.held.over_current_count:
        found += "; over-current {} times since the start".format(facts.held.over_current_count)
    if facts.held.cooling or (zones and zones[hottest] >= HOT_CELSIUS):
        advice = "Cool it with a fan, or set a mode that takes less power."
        return Check("heat", NOTE, found, advice, "sudo nvpmodel -p --verbose")
    if facts.held.over_current_count:
        advice = "Use a supply that gives more, or set a mode that takes less power."
        return Check("heat", NOTE, found, advice, "sudo nvpmodel -p --verbose")
    return Check("heat", OK, found)


def sensors(facts: Facts, use: str) -> Check:
    """What a worker will show of its board."""
    rails = ["{} {:.2f} W".format(*rail) for rail in sorted(facts.sensed["power_w"].items())]
    zone_count = len(facts.sensed["temperature_c"])
    found = "{} thermometers; {}".format(zone_count, ", ".join(rails) or "no power rail")
    if facts.machine.is_jetson and not (rails or zone_count):
        advice = "Power and temperature will not be shown; in a container, mount them."
        return Check("sensors", NOTE, found, advice, "docker run -v /sys:/sys:ro ...")
    return Check("sensors", OK, found)


def clock(facts: Facts, use: str) -> Check:
    """Whether somebody sets the time."""
    if facts.is_clock_synchronised is not False:
        told = "synchronised" if facts.is_clock_synchronised else "not told"
        return Check("time", OK, told)
    if facts.machine.is_container:
        return Check("time", OK, "not synchronised, as far as a container sees")
    return Check(
        "time",
        NOTE,
        "not synchronised",
        "Logs of several machines cannot be compared, and pip refuses certificates that seem to be "
        "of the future; let the system set its clock.",
        "sudo timedatectl set-ntp true",
    )


IDENTITY: Sequence[Look] = (identity, python)
ROOM_AND_SPEED: Sequence[Look] = (heat, memory, desktop, swap, disk)
ROOM_AND_SPEED = (*ROOM_AND_SPEED, power_mode, clocks, sensors, clock)
