"""Golden values of a verdict's statistics and of the support vector machine, by scipy and scikit-learn.

    python3 -m venv venv && venv/bin/pip install scipy scikit-learn
    venv/bin/python tests/golden/make_stats.py > tests/golden/stats.json
"""
import json

import numpy as np
import scipy
import sklearn
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.svm import SVC

SOURCE = f"scipy {scipy.__version__}, scikit-learn {sklearn.__version__}"


def tensor(values):
    values = np.asarray(values, dtype=np.float64)
    return {"shape": list(values.shape), "data": [int(v) if v == int(v) else float(f"{v:.12g}") for v in values.ravel()]}


def case(name, inputs, outputs, **params):
    return {
        "case": name,
        "source": SOURCE,
        "params": params,
        "inputs": {key: tensor(value) for key, value in inputs.items()},
        "outputs": {key: tensor(value) for key, value in outputs.items()},
    }


def t_distribution():
    df, t = np.meshgrid([1.0, 2.0, 3.7, 4.0, 9.5, 30.0, 400.0], [-6.0, -1.3, 0.0, 0.4, 2.1, 12.0])
    df, t = df.ravel(), t.ravel()
    return case(
        "t_distribution",
        {"df": df, "t": t},
        {"cdf": stats.t.cdf(t, df), "quantile_975": stats.t.ppf(0.975, df)},
    )


def paired(name, runs, base):
    """The t test that is left where one source of variance is the only one."""
    runs, base = np.asarray(runs, float), np.asarray(base, float)
    gain = runs - base
    values = gain[0] if len(gain) == 1 else gain.mean(axis=1)
    test = stats.ttest_1samp(values, 0.0)
    low, high = test.confidence_interval(0.95)
    margin = 0.01
    lower = stats.ttest_1samp(values, -margin, alternative="greater").pvalue
    upper = stats.ttest_1samp(values, margin, alternative="less").pvalue
    return case(
        name,
        {"runs": runs, "base": base},
        {"mean": [values.mean()], "interval": [low, high], "p": [test.pvalue], "p_not_equivalent": [max(lower, upper)]},
        margin=margin,
    )


def svc():
    images, labels = load_digits(return_X_y=True)
    draw = np.random.default_rng(5)
    # Noise, so that not all is right.
    images = np.clip(np.round(images + draw.normal(0, 5, images.shape)), -8, 24)
    chosen = draw.permutation(len(labels))
    train, test = chosen[:100], chosen[100:300]
    cases = []
    for penalty, gamma in [(10.0, 1.0), (1.0, 0.5)]:
        scale = gamma / (images.shape[1] * images[train].var())
        model = SVC(C=penalty, gamma=scale).fit(images[train], labels[train])
        predicted = model.predict(images[test])
        cases.append(
            case(
                "svc",
                {"train": images[train], "labels": labels[train], "test": images[test], "truth": labels[test]},
                {"predicted": predicted, "accuracy": [np.mean(predicted == labels[test])]},
                penalty=penalty,
                gamma=gamma,
            )
        )
    return cases


draw = np.random.default_rng(3)
base = draw.random(60) < 0.7
other = np.where(draw.random(60) < 0.2, ~base, base)
shifts = draw.normal(0.02, 0.03, 5)
cases = [
    t_distribution(),
    paired("paired_images", [other], [base]),
    # Every image gains the same in a run, so only the runs differ.
    paired("paired_runs", [np.full(7, 0.6 + s) for s in shifts], np.full((5, 7), 0.6)),
    *svc(),
]
print("[" + ",\n".join(json.dumps(c) for c in cases) + "]")
