"""Logistic regression by gradient descent. usage: fit.py POINTS OUT_FOLDER LEARNING_RATE"""
import json, math, sys

points, out, lr = json.load(open(sys.argv[1])), sys.argv[2], float(sys.argv[3])
rows = [(p, 0) for p in points["negative"]] + [(p, 1) for p in points["positive"]]
train, test = rows[::2], rows[1::2]
w = [0.0, 0.0, 0.0]
guess = lambda p: 1 / (1 + math.exp(-(w[0] + w[1] * p[0] + w[2] * p[1])))
for step in range(200):
    gradient = [0.0, 0.0, 0.0]
    for p, label in train:
        d = guess(p) - label
        gradient = [g + d * x for g, x in zip(gradient, [1, *p])]
    w = [a - lr * g / len(train) for a, g in zip(w, gradient)]
error = lambda rows: sum((guess(p) > .5) != label for p, label in rows) / len(rows)
print(f"test error {error(test):.3f}")
json.dump(w, open(f"{out}/weights.json", "w"))
json.dump({"train": {"error": error(train)}, "test": {"error": error(test)}}, open(f"{out}/metrics.json", "w"))
