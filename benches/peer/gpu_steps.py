"""Steps of train_step.py on the GPU, many in one process, since starting PyTorch takes longer than all of them.
usage: gpu_steps.py MODE,.. CASE..., a CASE as in "resnet18 512 3x32x32 simclr 15"
Prints train_step.py's line for each case in each mode."""
import os, runpy, sys
script, modes, cases = os.path.join(os.path.dirname(os.path.abspath(__file__)), "train_step.py"), sys.argv[1].split(","), sys.argv[2:]
for mode in modes:
    for case in cases:
        backbone, batch, image, task, steps = case.split()
        sys.argv = [script, "--backbone", backbone, "--batch", batch, "--image", image, "--task", task, "--steps", steps, "--mode", mode, "--device", "cuda"]
        try: runpy.run_path(script, run_name="__main__")
        except Exception as error: print(f"{mode}, {case}: {error!r}", file=sys.stderr)
        sys.stdout.flush()
