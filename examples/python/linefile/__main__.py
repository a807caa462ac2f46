"""A device plugin in Python: follows a text file to which a tonometer appends one line per measurement.

    P-0042;2026-01-02T08:30:00;R;15.5        patient id; instrument's clock; eye R or L; pressure in mmHg

It only grows. What main.go is to a driver in Go is this file; package serve is hostd.py.
"""

import datetime
import json
import sys

import hostd
import hostd_pb2 as pb
import simulate

LIMIT = 8 << 20  # bytes that are read at once, and the longest line
SECOND = datetime.timedelta(seconds=1)

MANIFEST = {
    "name": "linefile",
    "version": "1.0.0",
    "role": "device",
    "speaks": "one line of text per measurement of the eye's pressure",
    "identity": "byte offset of the line's end",
    "loss_window": "none while the file grows",
    "settings": [
        {"name": "path", "type": "string", "required": True, "help": "file to which the instrument appends"},
    ],
}


class LineFile:
    def open(self, settings, position, _env):
        self.path = settings["path"]
        self.at = int(position or 0)  # bytes on the host's disk; only ack moves it, so a line is read until it is safe

    def read(self, stop):
        while True:
            records, at = self.next()
            if records or stop.wait(0.5):
                return records, str(at) if records else ""

    def ack(self, position):
        self.at = int(position)

    def close(self):
        pass

    def next(self):
        """The whole lines behind self.at, and where they end."""
        records, at = [], self.at
        with open(self.path, "rb") as f:
            if f.seek(0, 2) < at:
                raise hostd.Fault(f"{self.path} is shorter than what was read of it: was it replaced?")
            f.seek(at)
            while len(records) < 1000 and at - self.at < LIMIT:
                line = f.readline(LIMIT)
                if not line.endswith(b"\n") and len(line) < LIMIT:
                    break  # the end, or a line that the instrument still writes
                at += len(line)
                records.append(record(str(at), line))
        return records, at


def record(identity, line):
    """An exam, or a reject with the line as evidence: nothing that the instrument wrote is lost."""
    try:
        return exam(identity, line)
    except (ValueError, OverflowError):
        return pb.Record(id=identity, kind="reject", raw=line, labels={"reason": "malformed_line"})


def exam(identity, line):
    """One measurement in the form that the sinks know: core/sdk/exam/exam.schema.json."""
    patient, clock, eye, mmhg = line.decode("ascii").strip().split(";")
    if eye not in ("R", "L"):
        raise ValueError("no such eye")
    taken = datetime.datetime.fromisoformat(clock).astimezone()  # it says no zone: the clinic's
    data = {
        "patient": {"id": patient, "name": "", "birth": "", "sex": ""},
        "device": {"make": "Example", "model": "Line", "serial": ""},
        "taken_at": clock,
        "observations": [
            {"code": "iop", "eye": eye, "value": float(mmhg), "unit": "mmHg", "method": "tono", "seq": 0},
        ],
    }
    return pb.Record(
        id=identity, kind="exam", time=int(taken.timestamp()) * 10**9, utc_offset=taken.utcoffset() // SECOND,
        content_type="application/json", data=json.dumps(data, allow_nan=False).encode(), raw=line)


if __name__ == "__main__":
    if sys.argv[1:2] == ["simulate"]:
        simulate.main(sys.argv[2:])
    else:
        hostd.main(LineFile(), MANIFEST)
