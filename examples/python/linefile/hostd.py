"""What every device plugin of hostd does, whatever it reads: copy this file as it is, and write the device.

A device is an object with these methods. No two of them run at once, except that close comes beside a read that does
not end; it needs no lock and no thread.

    open(settings, position, env)  connects to the instrument. settings: a dict that was checked, with its defaults.
                                   position: str, what read gave last that was acknowledged; "" is the beginning
    read(stop)                     waits for the next records and returns (records, next position); [] and "" when the
                                   threading.Event stop is set before there is something
    ack(position)                  everything up to there is on the host's disk: now tell the instrument
    refuse(position, reason)       optional: it was not stored and will be read again. Without it the host reopens
    close()                        lets go. Comes once after each open, also after one that failed

A record is a hostd_pb2.Record; its fields are described in hostd.proto. What a method raises reopens the device at
its last acknowledged position. The clinic reads the text of a Fault, or of an OSError, and only the kind of any other
exception, which may quote a patient.

The flow: main -> handshake -> Describe -> Open -> Run (read, send, wait for the answer, ack, and again) -> Close.
"""

import base64
import datetime
import hashlib
import json
import logging
import os
import signal
import sys
import threading
import traceback
from concurrent import futures

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import hostd_pb2 as pb

# Limits of the contract, in bytes and records.
MAX_INLINE = 1 << 20
MAX_BATCH, MAX_BATCH_SIZE = 256, 256 << 10
MAX_POSITION = 4 << 10
MAX_MESSAGE = 16 << 20

log = logging.getLogger("plugin")


class Fault(Exception):
    """An error with a text for the clinic: what to check. No patient data in it."""


def main(device, manifest):
    """Runs the plugin. Does not return."""
    if os.environ.get("HOSTD_PLUGIN") != "8f1c5e0a-device-or-sink":
        sys.exit(f"{manifest['name']} is a plugin of hostd, which starts it by itself: put it into the plugin folder.")
    if "1" not in os.environ.get("PLUGIN_PROTOCOL_VERSIONS", "1").split(","):
        sys.exit(f"{manifest['name']} speaks version 1 of hostd's contract, and this host does not.")
    # The standard output is for the handshake alone: whatever else is printed goes to the standard error.
    handshake = os.dup(1)
    os.dup2(2, 1)
    log_to_host()
    service = Service(device, manifest)
    signal.signal(signal.SIGTERM, lambda *_: service.end())
    os.write(handshake, serve(service).encode())
    while os.read(0, 4096):  # the host holds the other end: when it is gone, so are we
        pass
    service.end()


def serve(service):
    """Starts the server and returns the line of the handshake."""
    key, cert = new_certificate()
    der = cert.public_bytes(serialization.Encoding.DER)
    own = cert.public_bytes(serialization.Encoding.PEM)
    # Mutual TLS: who shows another certificate than the host's is not let in. Without one, nobody is.
    host = os.environ.get("PLUGIN_CLIENT_CERT", "").encode() or own
    credentials = grpc.ssl_server_credentials([(key, own)], root_certificates=host, require_client_auth=True)
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[
        ("grpc.max_receive_message_length", MAX_MESSAGE),
        ("grpc.max_send_message_length", MAX_MESSAGE),
        ("grpc.keepalive_permit_without_calls", 1),  # the host may ping, with a stream or without
        ("grpc.http2.min_ping_interval_without_data_ms", 5000),
    ])
    server.add_generic_rpc_handlers(service.handlers())
    if os.name == "nt":
        ports = range(int(os.environ["PLUGIN_MIN_PORT"]), int(os.environ["PLUGIN_MAX_PORT"]) + 1)
        network, address = "tcp", next(a for p in ports if bound(server, a := f"127.0.0.1:{p}", credentials))
    else:
        os.umask(0o077)
        network, address = "unix", os.path.join(os.environ.get("PLUGIN_UNIX_SOCKET_DIR", "/tmp"), f"plugin{os.getpid()}")
        server.add_secure_port("unix:" + address, credentials)
    server.start()
    service.server = server  # it ends when nobody holds it
    return f"1|1|{network}|{address}|grpc|{base64.b64encode(der).decode().rstrip('=')}\n"


def bound(server, address, credentials):
    """Whether the port was free. Old versions of grpc say 0, newer ones raise."""
    try:
        return server.add_secure_port(address, credentials) != 0
    except RuntimeError:
        return False


def new_certificate():
    """A key for this start, and its certificate, which vouches for itself; both ends trust nothing else."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    cert = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()), cert


class Session:
    """The time from one Open to its Close."""

    def __init__(self, staging):
        self.staging = staging
        self.stop = threading.Event()  # set: read ends
        self.idle = threading.Event()  # set: no Run calls the device
        self.idle.set()
        self.stream = None  # the call of Run
        self.number = 0  # of the last message
        self.staged = 0  # files made, for their names


class Service:
    """The gRPC services, for a device that has one batch open at a time (window 1)."""

    def __init__(self, device, manifest):
        self.device, self.manifest = device, manifest
        self.lock = threading.Lock()  # held by Open and Close
        self.session = None

    def handlers(self):
        """Names each call. These few lines stand for generated stubs, and for the packages of two services."""
        def unary(call, request, reply):
            return grpc.unary_unary_rpc_method_handler(call, request.FromString, reply.SerializeToString)

        def plain(call):  # messages without fields, or with one that is always the same
            return grpc.unary_unary_rpc_method_handler(call)

        run = grpc.stream_stream_rpc_method_handler(self.run, pb.Answer.FromString, pb.Batch.SerializeToString)
        services = {
            "hostd.v1.Plugin": {
                "Describe": unary(self.describe, pb.DescribeRequest, pb.DescribeReply),
                "Health": unary(lambda *_: pb.HealthReply(), pb.HealthRequest, pb.HealthReply),
            },
            "hostd.v1.Device": {
                "Open": unary(self.open, pb.OpenDeviceRequest, pb.OpenReply),
                "Run": run,
                "Close": unary(self.close, pb.CloseRequest, pb.CloseReply),
            },
            "grpc.health.v1.Health": {"Check": plain(lambda *_: b"\x08\x01")},  # status: SERVING
            "plugin.GRPCController": {"Shutdown": plain(lambda *_: self.end())},
        }
        return [grpc.method_handlers_generic_handler(name, calls) for name, calls in services.items()]

    def describe(self, _request, _context):
        return pb.DescribeReply(manifest=json.dumps(self.manifest).encode())

    def open(self, request, context):
        with self.lock:
            self.close_session()
            log.setLevel({"debug": 10, "info": 20, "warn": 30, "error": 40}.get(request.log_level, 20))
            self.session = Session(request.staging_dir)
            try:
                settings = check_settings(self.manifest["settings"], request.settings)
                self.device.open(settings, request.position.decode(), request)
            except Exception as e:
                self.close_session()
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, text_of(e))
        return pb.OpenReply()

    def close(self, _request, context):
        with self.lock:
            try:
                self.close_session()
            except Exception as e:
                context.abort(grpc.StatusCode.INTERNAL, text_of(e))
        return pb.CloseReply()

    def close_session(self):
        """Ends Run first, which has half a second to hear it."""
        session, self.session = self.session, None
        if session is None:
            return
        session.stop.set()
        if session.stream:
            session.stream.cancel()
        if not session.idle.wait(0.5):
            log.warning("the device still reads while it is closed")
        self.device.close()

    def run(self, answers, context):
        """Carries batches up, as a generator, and takes the answer to each before it reads the next."""
        session = self.session
        if session is None:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "device is not open")
        session.idle.clear()
        session.stream = context
        context.add_callback(session.stop.set)  # however the call ends, read ends too
        try:
            while not session.stop.is_set():
                records, position = self.device.read(session.stop)
                if session.stop.is_set():
                    break  # unanswered: it is read again after the next Open
                parts = split(records, position, session)
                yield from parts
                self.answered(answers, parts, session)
        except Exception as e:
            if not session.stop.is_set():
                context.abort(grpc.StatusCode.ABORTED, text_of(e))
        finally:
            session.idle.set()

    def answered(self, answers, parts, session):
        """Waits for the answer to all parts of the batch, and hands it on."""
        last = parts[-1]
        for answer in answers:
            if answer.refused:
                if len(parts) > 1 or not hasattr(self.device, "refuse"):
                    raise Fault("batch refused: " + answer.reason)  # parts of it may be stored: begin at the position
                self.device.refuse(last.next.decode(), answer.reason)
                return
            if answer.ack >= last.number:  # a smaller one is for a part
                if last.next:
                    self.device.ack(last.next.decode())
                return
        session.stop.set()  # the host has ended the stream

    def end(self):
        """Ends the process, and gives the device a second to close."""
        ended = threading.Timer(1, os._exit, [0])
        ended.daemon = True
        ended.start()
        with self.lock:
            self.close_session()
        os._exit(0)


def split(records, position, session):
    """The messages of one batch. Only the last has the position, so that it never passes a record that is not stored."""
    if len(position.encode()) > MAX_POSITION:
        raise Fault(f"position of {len(position)} bytes, the limit is {MAX_POSITION}")
    parts, size = [pb.Batch()], 0
    for record in records:
        finish(record, session)
        more = record.ByteSize() + 8
        if parts[-1].records and (len(parts[-1].records) == MAX_BATCH or size + more > MAX_BATCH_SIZE):
            parts.append(pb.Batch())
            size = 0
        parts[-1].records.append(record)
        size += more
    for part in parts:
        session.number += 1
        part.number = session.number
    parts[-1].next = position.encode()
    return parts


def finish(record, session):
    """Moves what is too large for a message into a file of the staging folder, which the host takes over."""
    if record.raw and len(record.raw) + len(record.data) > MAX_INLINE:
        if not record.digest:  # what makes two records the same content: the source's bytes
            record.digest = content_hash(record)
        stage(record, "raw", record.raw, "application/octet-stream", session)
        record.raw = b""
    if len(record.data) > MAX_INLINE:
        stage(record, "data", record.data, record.content_type, session)
        record.data = b""
    if record.kind == "exam":
        record.patient = json.loads(record.data or "{}").get("patient", {}).get("id", "")
        record.unassigned = not record.patient


def stage(record, role, content, content_type, session):
    session.staged += 1
    name = f"{role}-{os.getpid()}-{session.staged}"
    with open(os.path.join(session.staging, name), "wb") as f:
        f.write(content)
    record.attachments.add(
        name=name, staged=name, role=role, content_type=content_type,
        size=len(content), hash=hashlib.sha256(content).hexdigest())


def content_hash(record):
    content = hashlib.sha256(record.raw)
    for a in record.attachments:
        content.update(b"\0" + a.hash.encode())
    return content.digest()


TYPES = {"string": str, "int": int, "float": (int, float), "bool": bool, "list": list, "map": dict}


def check_settings(known, text):
    """The settings with their defaults. A Fault names what is wrong, and never quotes a value."""
    settings = json.loads(text or "{}")
    faults = [f"{key}: unknown setting" for key in settings if key not in [s["name"] for s in known]]
    for s in known:
        value = settings.get(s["name"])
        if s["name"] not in settings:
            if s.get("required"):
                faults.append(f"{s['name']}: is required: {s['help']}")
            elif "default" in s:  # the manifest has it as text
                settings[s["name"]] = s["default"] if s["type"] == "string" else json.loads(s["default"])
        elif not isinstance(value, TYPES[s["type"]]) or isinstance(value, bool) != (s["type"] == "bool"):
            faults.append(f"{s['name']}: must be of the type {s['type']}")
    if faults:
        raise Fault("read settings: settings are wrong: " + "; ".join(sorted(faults)))
    return settings


def text_of(error):
    """What the clinic reads. The place of any other exception is in the log."""
    if isinstance(error, (Fault, OSError)):
        return str(error)
    log.error("the plugin failed", exc_info=error)
    return f"the plugin failed: {type(error).__name__}, see its log"


class HostFormatter(logging.Formatter):
    """One line of JSON, as the host reads it. Of an exception it shows kind and place: its text may quote a patient."""

    def format(self, record):
        line = {
            "@timestamp": datetime.datetime.fromtimestamp(record.created).astimezone().isoformat(),
            "@level": record.levelname.lower().replace("warning", "warn").replace("critical", "error"),
            "@message": record.getMessage(),
        }
        if record.exc_info:
            kind, _, trace = record.exc_info
            line["exception"] = kind.__name__
            line["stack"] = "".join(traceback.format_tb(trace))
        return json.dumps(line)


def log_to_host():
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(HostFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
