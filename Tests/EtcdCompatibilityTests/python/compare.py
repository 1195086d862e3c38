"""Compares what a suite said of two clusters.

    compare.py DIFFERENCES EXPECTED ACTUAL      (JSON of expected differences; documents of etcd; documents of Esper)

Prints every difference that is not among the expected ones, and every expected one that is none; exit code 1 if it
prints anything. Each entry of DIFFERENCES says what differs and why (`reason`), and `where`: the steps of each scenario.
`*` stands for anything in both names.
"""
import fnmatch
import json
import sys


def documents(path):
    with open(path) as file:
        return {document["scenario"]: document["steps"] for document in map(json.loads, file)}


def numbered(steps):
    """Steps by name; of several of one name each by its place."""
    counts, result = {}, {}
    for step in steps:
        name = step["step"]
        counts[name] = counts.get(name, 0) + 1
        result[name if counts[name] == 1 else f"{name} #{counts[name]}"] = step
    return result


def shown(step):
    if step is None:
        return "(no such step)"
    return step.get("error") or json.dumps(step["answer"], ensure_ascii=False)


def compare(differences, expected, actual):
    """Lines to print."""
    meant = [(scenario, step) for entry in differences for scenario, steps in entry["where"].items() for step in steps]
    used = set()
    for scenario in dict.fromkeys([*expected, *actual]):
        if scenario not in expected or scenario not in actual:
            yield f"{scenario}: ran only against {'etcd' if scenario in expected else 'Esper'}"
            continue
        theirs, ours = numbered(expected[scenario]), numbered(actual[scenario])
        for name in dict.fromkeys([*theirs, *ours]):
            if name in theirs and name in ours and {**theirs[name], "step": ""} == {**ours[name], "step": ""}:
                continue
            found = [pair for pair in meant
                     if fnmatch.fnmatchcase(scenario, pair[0]) and fnmatch.fnmatchcase(name, pair[1])]
            used.update(found)
            if not found:
                yield f"{scenario}: {name}\n    etcd:  {shown(theirs.get(name))}\n    Esper: {shown(ours.get(name))}"
    for scenario, step in meant:
        if (scenario, step) not in used and any(fnmatch.fnmatchcase(name, scenario) for name in expected):
            yield f"{scenario}: {step}: listed as a difference, but there is none"


def main():
    path, expected, actual = sys.argv[1:]
    with open(path) as file:
        differences = json.load(file)
    lines = list(compare(differences, documents(expected), documents(actual)))
    for line in lines:
        print(line)
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
