"""Two noisy clouds of points as JSON. usage: points.py OUT SEED"""
import json, random, sys

random.seed(int(sys.argv[2]))
cloud = lambda x, y: [[random.gauss(x, 1), random.gauss(y, 1)] for _ in range(200)]
json.dump({"negative": cloud(-1, 0), "positive": cloud(1, 1)}, open(sys.argv[1], "w"))
