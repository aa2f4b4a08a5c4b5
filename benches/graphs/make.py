#!/usr/bin/env python3
"""One graph, written for flow (in-process and command nodes), ninja, Snakemake, DVC and redun.

usage: make.py SHAPE NODES FOLDER [TOOL ...]

SHAPE is chain, fan, grid or bipartite. Every node joins its inputs and its own name and keeps the last 64 bytes, and (where it is a
program) adds its name to the file `log` of its tool's folder, so that all tools can be seen to have done the same work. Nodes without
inputs read the file `leaf.txt`.
"""
import sys
from pathlib import Path

STEP = "cat {inputs} > {out}.all; echo {name} >> {out}.all; tail -c 64 {out}.all > {out}; rm {out}.all; echo {name} >> log"


def graph(shape, nodes):
    """The nodes in order, each with the places of its inputs."""
    if shape == "chain":
        return [[i - 1] if i else [] for i in range(nodes)]
    if shape == "fan":
        return [[]] + [[0]] * (nodes - 2) + [list(range(1, nodes - 1))]
    if shape == "grid":
        side = max(2, round(nodes**0.5))
        return [sorted({i - side, i - side + 1 if (i + 1) % side else i - 2 * side + 1}) if i >= side else [] for i in range(nodes)]
    if shape == "bipartite":
        side = nodes // 2
        return [[]] * side + [list(range(side))] * side
    sys.exit(f"unknown shape {shape}")


def name(i):
    return f"n{i:06}"


def flow(nodes, folder):
    lines = ['[workflow]\nname = "graph"\n\n[defaults.concat]\nkeep_last = 64\n\n[nodes]\n']
    for i, inputs in enumerate(nodes):
        of = ", ".join(f'"{name(j)}"' for j in inputs)
        source = f"inputs = [{of}]" if inputs else 'files = ["leaf.txt"]'
        lines.append(f'{name(i)} = {{ kind = "concat", {source}, text = "{name(i)}\\n" }}\n')
    (folder / "graph.toml").write_text("".join(lines))


def flow_command(nodes, folder):
    lines = ['[workflow]\nname = "graph"\n\n[nodes]\n']
    log = folder.resolve() / "log"
    for i, inputs in enumerate(nodes):
        of = ", ".join(f'{name(j)} = "{name(j)}"' for j in inputs)
        files = " ".join(f"inputs/{name(j)}/out" for j in inputs) or "leaf.txt"
        step = f"cat {files} > all; echo {name(i)} >> all; tail -c 64 all > outputs/out; rm all; echo {name(i)} >> {log}"
        code = "" if inputs else ', code = ["leaf.txt"]'
        lines.append(f'{name(i)} = {{ kind = "command", run = ["sh", "-c", "{step}"], inputs = {{ {of} }}, outputs = ["out"]{code} }}\n')
    (folder / "graph.toml").write_text("".join(lines))


def ninja(nodes, folder):
    lines = ["rule join\n  command = " + STEP.format(inputs="$in", out="$out", name="$out") + "\n"]
    for i, inputs in enumerate(nodes):
        lines.append(f"build {name(i)}: join {' '.join(name(j) for j in inputs) or 'leaf.txt'}\n")
    (folder / "build.ninja").write_text("".join(lines))


def snakemake(nodes, folder):
    ends = sinks(nodes)
    lines = [f"rule all:\n    input: {', '.join(repr(name(i)) for i in ends)}\n"]
    for i, inputs in enumerate(nodes):
        of = ", ".join(repr(name(j)) for j in inputs) or "'leaf.txt'"
        step = STEP.format(inputs="{input}", out="{output}", name=name(i))
        lines.append(f"rule {name(i)}:\n    input: {of}\n    output: '{name(i)}'\n    shell: '{step}'\n")
    (folder / "Snakefile").write_text("".join(lines))


def dvc(nodes, folder):
    lines = ["stages:\n"]
    for i, inputs in enumerate(nodes):
        of = [name(j) for j in inputs] or ["leaf.txt"]
        step = STEP.format(inputs=" ".join(of), out=name(i), name=name(i))
        deps = "".join(f"      - {d}\n" for d in of)
        lines.append(f"  {name(i)}:\n    cmd: '{step}'\n    deps:\n{deps}    outs:\n      - {name(i)}\n")
    (folder / "dvc.yaml").write_text("".join(lines))


def redun(nodes, folder):
    lines = [
        "from redun import task, File\n\nredun_namespace = 'graph'\n\n",
        "@task(version='1')\ndef join(name, files, inputs):\n"
        "    whole = ''.join(inputs) + ''.join(open(f.path).read() for f in files) + name + '\\n'\n"
        "    open('log', 'a').write(name + '\\n')\n    return whole[-64:]\n\n",
        "@task(version='1')\ndef main():\n    made = []\n    leaf = File('leaf.txt')\n",
        f"    graph = {nodes!r}\n",
        "    for i, inputs in enumerate(graph):\n"
        "        made.append(join(f'n{i:06}', [] if inputs else [leaf], [made[j] for j in inputs]))\n"
        f"    return [made[i] for i in {sinks(nodes)!r}]\n",
    ]
    (folder / "graph.py").write_text("".join(lines))


def sinks(nodes):
    used = {j for inputs in nodes for j in inputs}
    return [i for i in range(len(nodes)) if i not in used]


TOOLS = {"flow": flow, "flow_command": flow_command, "ninja": ninja, "snakemake": snakemake, "dvc": dvc, "redun": redun}

if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    shape, count, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    nodes = graph(shape, count)
    for tool in sys.argv[4:] or TOOLS:
        place = folder / tool
        place.mkdir(parents=True, exist_ok=True)
        (place / "leaf.txt").write_text("leaf\n")
        TOOLS[tool](nodes, place)
