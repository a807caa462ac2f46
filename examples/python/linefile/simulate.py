"""The instrument of the driver, made of nothing: linefile simulate FILE writes a line each second.

linefile simulate --conformance is what hostd plugins test asks for: a fresh instrument that says with which settings
it is found, and produces records on demand, until its standard input ends.
"""

import json
import os
import sys
import tempfile
import time


def main(arguments):
    if arguments == ["--conformance"]:
        conformance()
    elif len(arguments) == 1:
        with open(arguments[0], "a") as f:
            for n in range(1 << 30):
                f.write(measurement(n))
                f.flush()
                time.sleep(1)
    else:
        sys.exit("usage: linefile simulate FILE | --conformance")


def measurement(n):
    """A line of an invented patient."""
    clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(1767340800 + n))
    return f"P-{n:06};{clock};{'RL'[n % 2]};{10 + n % 12}.5\n"


def conformance():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "lines.txt")
        with open(path, "a") as f:
            # What no line should be: too large for a message, and so many that a batch is sent in parts.
            f.write("x" * (5 << 20) + "\n")
            f.write(("y" * (30 << 10) + "\n") * 30)
            f.flush()
            print(json.dumps({"settings": {"path": path}, "records": 31}), flush=True)
            made = 0
            for line in sys.stdin:
                word, _, number = line.strip().partition(" ")
                if word != "produce":
                    print("no", flush=True)
                    continue
                for _ in range(int(number)):
                    f.write(measurement(made))
                    made += 1
                f.flush()
                print("ok", flush=True)
