"""Times the list of runs of `flow ui`: one real run, its directory copied many times under ids of its own, the list asked for as the page does.

    ui.py FLOW RUNS
"""
import datetime
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

WORKFLOW = """
[matrix]
seed = [0, 1, 2]

[nodes.images]
kind = "dataset"
source = "scenes"
train = 240
validation = 60
test = 60
side = 16

[nodes.labelled]
kind = "dataset"
from = "images"
labels = 120

[nodes.scratch]
kind = "finetune"
data = ["labelled"]
backbone = { name = "conv3", widths = [8, 16, 16] }
steps = 40
batch = 16
lr = 0.01
seed = "${seed}"

[nodes.score]
kind = "evaluate"
model = "scratch"
data = "labelled"
"""
ASKED = [
    ("newest first", {}),
    ("longest first", {"sort": "took", "down": "1"}),
    ("by workflow", {"sort": "workflow"}),
    ("`status = failed`", {"where": "status = failed"}),
    ("`ran > 3 and age < 30d`", {"where": "ran > 3 and age < 30d"}),
]
REQUESTS = 15


def copies(run, count):
    """Copies a run's directory under the ids and times of earlier minutes; a tenth of them as failed."""
    stamp, rest = run.name.split("-", 1)
    texts = {file.relative_to(run): file.read_text() for file in run.rglob("*") if file.is_file()}
    began = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%S.%fZ")
    for i in range(1, count):
        earlier = began - datetime.timedelta(minutes=i)
        name = f"{earlier.strftime('%Y%m%dT%H%M%S.%f')[:-3]}Z-{rest}"
        target = run.parent / name
        for file, text in texts.items():
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            text = re.sub(r'(unix_ms": ?)(\d+)', lambda found: f"{found[1]}{int(found[2]) - 60_000 * i}", text.replace(run.name, name))
            if i % 10 == 0:
                text = re.sub(r'("status": ?)"finished"', r'\1"failed"', text)
            (target / file).write_text(text)


def main():
    flow, count = os.path.abspath(sys.argv[1]), int(sys.argv[2])
    folder = pathlib.Path(tempfile.mkdtemp())
    environment = {**os.environ, "FLOW_CACHE": str(folder / "cache"), "FLOW_RUNS": str(folder / "runs")}
    try:
        (folder / "flow.toml").write_text(WORKFLOW)
        subprocess.run([flow, "run", "flow.toml", "--quiet"], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        run = next((folder / "runs").glob("2*"))
        copies(run, count)
        start = time.perf_counter()
        server = subprocess.Popen([flow, "ui", "--port", "0", "--quiet"], env=environment, stdout=subprocess.PIPE, text=True)
        address = server.stdout.readline().strip()

        def ask(query):
            start = time.perf_counter()
            answer = json.load(urllib.request.urlopen(f"{address}runs.json?{urllib.parse.urlencode(query)}"))
            assert answer["error"] is None, answer["error"]
            return answer["total"], 1000 * (time.perf_counter() - start)

        try:
            first = ask({})
            first = (first[0], 1000 * (time.perf_counter() - start))
            rows = [("the first, from the start of the program", *first)]
            for words, query in ASKED:
                times = [ask(query) for _ in range(REQUESTS)]
                rows.append((words, times[0][0], statistics.median(ms for _, ms in times)))
        finally:
            server.terminate()
            server.wait()
        events = (run / "events.jsonl").stat().st_size
        print(f"## The list of runs in `flow ui`, of {count} runs\n")
        print(f"`benches/ui.sh {count}`: a real run of {WORKFLOW.count('[nodes.')} nodes at three seeds, {events // 1024} KiB of events, copied under ids of")
        print(f"earlier minutes; milliseconds until the list has arrived whole, medians of {REQUESTS} requests.\n")
        print("| list | runs found | ms |")
        print("| --- | ---: | ---: |")
        for words, total, ms in rows:
            print(f"| {words} | {total} | {ms:.0f} |")
    finally:
        shutil.rmtree(folder)


main()
