"""Machines made of files: what Jetsons, a PC and a container show below /proc, /sys, /etc and /var.

Made by hand from public documentation (NVIDIA's developer guides of L4T 32, 35 and 36, and listings
in public reports of users); none is a copy of a real board.
"""

import os

MODES_NANO = {0: "MAXN", 1: "5W"}
MODES_XAVIER_NX = {0: "MODE_15W_2CORE", 2: "MODE_15W_6CORE", 8: "MODE_20W_6CORE"}
MODES_ORIN = {0: "MAXN", 1: "MODE_15W", 2: "MODE_30W", 3: "MODE_50W"}
GIB = 1 << 20  # in kB, as /proc/meminfo counts
DEVICES = ("nvhost-gpu", "nvhost-ctrl", "nvmap")


class Tree:
    """Files below a folder."""

    def __init__(self, root):
        self.root = root
        self.path = str(root)

    def write(self, name, content=""):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return self

    def remove(self, name):
        os.remove(str(self.root / name))
        return self

    def packages(self, **versions):
        stanzas = [
            "Package: {}\nStatus: install ok installed\nPriority: standard\nVersion: {}\n"
            "Description: some text\n more of it\n".format(name.replace("_", "-"), version)
            for name, version in versions.items()
        ]
        gone = "Package: nvidia-cuda\nStatus: deinstall ok config-files\nVersion: 9\n"
        return self.write("var/lib/dpkg/status", "\n".join(stanzas + [gone]))

    def modes(self, number, names, fan=""):
        lines = ["# FAN", "< PARAM TYPE=FILE NAME=CPU_ONLINE >", ""]
        lines += ["< POWER_MODEL ID={} NAME={} >".format(*mode) for mode in names.items()]
        self.write("etc/nvpmodel.conf", "\n".join(lines + ["< PM_CONFIG DEFAULT=0 >\n"]))
        return self.write("var/lib/nvpmodel/status", "pmode:{:04d}{}\n".format(number, fan))

    def cpu(self, policy, governor, least, most, now, limit):
        folder = "sys/devices/system/cpu/cpufreq/policy{}/".format(policy)
        self.write(folder + "scaling_governor", governor + "\n")
        values = {"scaling_min_freq": least, "scaling_max_freq": most, "scaling_cur_freq": now}
        for name, value in dict(values, cpuinfo_max_freq=limit).items():
            self.write(folder + name, "{}\n".format(value))
        return self

    def gpu(self, device, governor, least, most, now):
        folder = "sys/class/devfreq/{}/".format(device)
        self.write(folder + "governor", governor + "\n")
        for name, value in (("min", least), ("max", most), ("cur", now)):
            self.write(folder + name + "_freq", "{}\n".format(value))
        return self

    def memory(self, total_kb, available_kb):
        text = "MemTotal:  {} kB\nMemFree:  1 kB\nMemAvailable:  {} kB\n"
        return self.write("proc/meminfo", text.format(total_kb, available_kb))

    def swaps(self, *swaps):
        lines = ["Filename\t\t\t\tType\t\tSize\tUsed\tPriority"]
        lines += ["{} {} {} 0 5".format(*swap) for swap in swaps]
        return self.write("proc/swaps", "\n".join(lines) + "\n")

    def system(self, os_name, kernel):
        self.write("etc/os-release", 'NAME="Ubuntu"\nPRETTY_NAME="{}"\n'.format(os_name))
        return self.write("proc/sys/kernel/osrelease", kernel + "\n")

    def process(self, number, name):
        return self.write("proc/{}/comm".format(number), name + "\n")

    def zone(self, number, kind, temp):
        folder = "sys/class/thermal/thermal_zone{}/".format(number)
        return self.write(folder + "type", kind + "\n").write(folder + "temp", temp + "\n")

    def cooling(self, number, kind, state):
        folder = "sys/class/thermal/cooling_device{}/".format(number)
        return self.write(folder + "type", kind).write(folder + "cur_state", "{}\n".format(state))

    def devices(self):
        for name in DEVICES:
            self.write("dev/" + name)
        return self

    def rails_jetpack_4(self, **milliwatts):
        folder = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/"
        for channel, (rail, value) in enumerate(milliwatts.items()):
            self.write(folder + "rail_name_{}".format(channel), rail + "\n")
            self.write(folder + "in_power{}_input".format(channel), "{}\n".format(value))
        return self

    def rails_hwmon(self, **milliwatts):
        self.write("sys/class/hwmon/hwmon1/name", "ina3221\n")
        for channel, (rail, value) in enumerate(milliwatts.items(), start=1):
            for name, content in (("in{}_label", rail), ("in{}_input", 5000)):
                file = "sys/class/hwmon/hwmon1/" + name.format(channel)
                self.write(file, "{}\n".format(content))
            file = "sys/class/hwmon/hwmon1/curr{}_input".format(channel)
            self.write(file, "{}\n".format(value // 5))
        return self


def nano(root):
    """A Jetson Nano with JetPack 4.6.1 and its desktop, as it comes."""
    tree = Tree(root)
    tree.write("proc/device-tree/model", "NVIDIA Jetson Nano Developer Kit\0")
    tree.write(
        "etc/nv_tegra_release",
        "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref, EABI: aarch64, "
        "DATE: Sat Feb 19 17:05:08 UTC 2022\n",
    )
    tree.packages(
        nvidia_l4t_core="32.7.1-20220219090432",
        nvidia_jetpack="4.6.1-b110",
        python3_libnvinfer="8.2.1-1+cuda10.2",
    )
    tree.system("Ubuntu 18.04.6 LTS", "4.9.253-tegra").devices()
    tree.write("usr/local/cuda/version.txt", "CUDA Version 10.2.300\n")
    tree.write("usr/local/cuda/bin/nvcc")
    tree.modes(0, MODES_NANO)
    tree.cpu(0, "schedutil", 102000, 1479000, 1036800, 1479000)
    tree.gpu("57000000.gpu", "nvhost_podgov", 76800000, 921600000, 76800000)
    tree.gpu("54340000.vic", "wmark_active", 1, 2, 1)
    tree.memory(4059712, 1572864)
    tree.swaps(*[("/dev/zram{}".format(i), "partition", 507460) for i in range(4)])
    tree.process(1, "systemd").process(4711, "Xorg").process(4800, "gnome-shell")
    tree.zone(0, "AO-therm", "41500").zone(1, "CPU-therm", "33500")
    tree.cooling(0, "pwm-fan", 2).cooling(1, "tegra-cpu-balanced", 0)
    return tree.rails_jetpack_4(POM_5V_IN=2450, POM_5V_GPU=80, POM_5V_CPU=610)


def xavier(root):
    """A Xavier NX with JetPack 5.1, without a desktop."""
    tree = Tree(root)
    tree.write("proc/device-tree/model", "NVIDIA Jetson Xavier NX Developer Kit\0")
    tree.write("etc/nv_tegra_release", "# R35 (release), REVISION: 2.1, GCID: 32413640\n")
    tree.packages(nvidia_l4t_core="35.2.1-20230124153320", python3_libnvinfer="8.5.2-1+cuda11.4")
    tree.system("Ubuntu 20.04.5 LTS", "5.10.104-tegra").devices()
    tree.write(
        "usr/local/cuda/version.json", '{"cuda": {"name": "CUDA SDK", "version": "11.4.19"}}'
    )
    tree.write("usr/local/cuda/bin/nvcc")
    tree.modes(8, MODES_XAVIER_NX, " fmode:quiet")
    for policy in (0, 2, 4):
        tree.cpu(policy, "schedutil", 1907200, 1907200, 1907200, 1907200)
    tree.gpu("17000000.gv11b", "nvhost_podgov", 1109250000, 1109250000, 1109250000)
    tree.memory(7 * GIB, 5 * GIB).swaps(("/mnt/4GB.swap", "file", 4 * GIB))
    tree.zone(0, "CPU-therm", "45500").cooling(0, "cpu-throttle-alert", 0)
    return tree.rails_hwmon(VDD_IN=4500, VDD_CPU_GPU_CV=1100, VDD_SOC=1000)


def orin(root):
    """An AGX Orin with JetPack 6.0 in its 30 W mode."""
    tree = Tree(root)
    tree.write("proc/device-tree/model", "NVIDIA Jetson AGX Orin Developer Kit\0")
    tree.write("etc/nv_tegra_release", "# R36 (release), REVISION: 3.0, GCID: 36923193\n")
    tree.packages(
        nvidia_l4t_core="36.3.0-20240506102626",
        nvidia_jetpack="6.0+b106",
        python3_libnvinfer="8.6.2.3-1+cuda12.2",
    )
    tree.system("Ubuntu 22.04.4 LTS", "5.15.136-tegra").devices()
    tree.write("usr/local/cuda/version.json", '{"cuda": {"name": "CUDA SDK", "version": "12.2.1"}}')
    tree.write("usr/local/cuda/bin/nvcc")
    tree.modes(2, MODES_ORIN)
    for policy in (0, 4, 8):
        tree.cpu(policy, "schedutil", 729600, 1728000, 729600, 2201600)
    tree.gpu("17000000.gpu", "nvhost_podgov", 306000000, 612000000, 306000000)
    tree.memory(30 * GIB, 25 * GIB).swaps()
    tree.zone(0, "cpu-thermal", "97250").zone(10, "tj-thermal", "98500")
    tree.cooling(0, "pwm-fan", 3).cooling(1, "cpu-throttle-alert", 1)
    tree.cooling(2, "hot-surface-alert", 0)
    tree.write("sys/class/hwmon/hwmon3/oc1_event_cnt", "0\n")
    tree.write("sys/class/hwmon/hwmon3/oc3_event_cnt", "4\n")
    return tree.rails_hwmon(VDD_GPU_SOC=3000, VDD_CPU_CV=1500, VIN_SYS_5V0=4000)


def pc(root):
    """A workstation without an NVIDIA card."""
    tree = Tree(root)
    tree.system("Debian GNU/Linux 12 (bookworm)", "6.1.0-18-amd64")
    tree.packages(coreutils="9.1-1")
    tree.cpu(0, "powersave", 400000, 4700000, 800000, 4700000)
    tree.memory(32 * GIB, 20 * GIB).swaps(("/dev/nvme0n1p3", "partition", 8 * GIB))
    tree.process(1, "systemd").process(900, "Xorg")
    tree.zone(0, "x86_pkg_temp", "55000").cooling(0, "Processor", 0)
    return tree.write("dev/dri/card0")


def container(root):
    """A container on a Jetson that was started without the runtime of NVIDIA."""
    tree = Tree(root)
    tree.system("Ubuntu 18.04.6 LTS", "4.9.253-tegra").write(".dockerenv")
    tree.write("etc/nv_tegra_release", "# R32 (release), REVISION: 7.1, GCID: 29818004\n")
    return tree.memory(4059712, 2 * GIB).process(1, "python3")
