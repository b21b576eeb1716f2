"""Every encoded form of Concurrence, read and written: a second specification beside docs/protocol.md and decisions 001 and 003.

Written from those documents, with the standard library alone. A codec reads a value from a `Reader` and writes the same
bytes again; whatever it would not have written it refuses with a name. `check.py` runs it over the vectors.

    python3 vectors/decode.py FORM HEX
"""

import sys

import blake3
import ed25519
import evm


class Refused(Exception):
    """Bytes that are not the form; the text is the name of the refusal."""


class Reader:
    """Bytes that are read from the front. `network_id` is the reader's own network."""

    def __init__(self, data, network_id):
        self.data, self.at, self.network_id = data, 0, network_id

    def left(self):
        return len(self.data) - self.at

    def take(self, length):
        if length > self.left():
            raise Refused("truncated")
        self.at += length
        return self.data[self.at - length : self.at]


# Building blocks.


class Number:
    """An integer of `size` bytes, big-endian; above `cap` it is refused as over the cap of `name`."""

    def __init__(self, size, name=None, cap=None, signed=False):
        self.size, self.name, self.cap, self.signed = size, name, cap, signed

    def read(self, reader):
        value = int.from_bytes(reader.take(self.size), "big", signed=self.signed)
        if self.cap is not None and value > self.cap:
            raise Refused(f"over_cap: {self.name}")
        return value

    def write(self, value):
        return value.to_bytes(self.size, "big", signed=self.signed)


class Bytes:
    """Bytes of a fixed length."""

    def __init__(self, size):
        self.size = size

    def read(self, reader):
        return reader.take(self.size)

    def write(self, value):
        return value


class Sized:
    """Bytes with their length before them."""

    def __init__(self, length):
        self.length = length

    def read(self, reader):
        return reader.take(self.length.read(reader))

    def write(self, value):
        return self.length.write(len(value)) + value


class Rest:
    """Bytes to the end, at most `cap`."""

    def __init__(self, name, cap):
        self.name, self.cap = name, cap

    def read(self, reader):
        if reader.left() > self.cap:
            raise Refused(f"over_cap: {self.name}")
        return reader.take(reader.left())

    def write(self, value):
        return value


class List:
    """Items with their count before them."""

    def __init__(self, count, item):
        self.count, self.item = count, item

    def read(self, reader):
        return [self.item.read(reader) for _ in range(self.count.read(reader))]

    def write(self, items):
        return self.count.write(len(items)) + b"".join(map(self.item.write, items))


class Record:
    """Named fields, one after another."""

    def __init__(self, **fields):
        self.fields = fields

    def read(self, reader):
        return {name: codec.read(reader) for name, codec in self.fields.items()}

    def write(self, value):
        return b"".join(codec.write(value[name]) for name, codec in self.fields.items())


class Checked:
    """A form of which not every value is canonical: each rule is a condition and the name of its refusal."""

    def __init__(self, codec, *rules):
        self.codec, self.rules = codec, rules

    def read(self, reader):
        value = self.codec.read(reader)
        for condition, reason in self.rules:
            if not condition(value):
                raise Refused(reason)
        return value

    def write(self, value):
        return self.codec.write(value)


class Flag:
    """A byte that is 0 or 1."""

    def __init__(self, name):
        self.name = name

    def read(self, reader):
        value = U8.read(reader)
        if value > 1:
            raise Refused(f"not_canonical: {self.name}")
        return value == 1

    def write(self, value):
        return U8.write(value)


U8, U16, U32, U64 = Number(1), Number(2), Number(4), Number(8)
HASH = Bytes(32)


def is_ascending(items):
    return all(a < b for a, b in zip(items, items[1:]))


# The operation: decisions/001, "The operation".

LOGS_MAX, REFS_MAX, PAYLOAD_LEN_MAX = 4, 16, 61_440
HEADER_LEN_MIN, SIGNATURE_LEN = 157, 64
SIGNED_HEADER_LEN_MAX = HEADER_LEN_MIN + REFS_MAX * 32 + SIGNATURE_LEN
OP_LEN_MAX = SIGNED_HEADER_LEN_MAX + PAYLOAD_LEN_MAX


class Version:
    """The byte 0."""

    def read(self, reader):
        if U8.read(reader) != 0:
            raise Refused("version")
        return 0

    def write(self, value):
        return U8.write(value)


class Network:
    """The id of the reader's own network."""

    def read(self, reader):
        found = HASH.read(reader)
        if found != reader.network_id:
            raise Refused("other_network")
        return found

    def write(self, value):
        return value


HEADER = Checked(
    Record(
        version=Version(),
        network_id=Network(),
        author=HASH,
        log=Number(1, "log index", LOGS_MAX - 1),
        seq=U64,
        prev=HASH,
        epoch=U32,
        declared_ms=U64,
        kind=U16,
        payload_length=Number(4, "payload length", PAYLOAD_LEN_MAX),
        payload_hash=HASH,
        refs=List(Number(1, "refs", REFS_MAX), HASH),
    ),
    (lambda h: h["seq"] > 0 or h["prev"] == bytes(32), "not_canonical: prev of the first operation"),
    (lambda h: is_ascending(h["refs"]), "not_canonical: order of refs"),
)

SIGNED_HEADER = Record(header=HEADER, signature=Bytes(SIGNATURE_LEN))


class Operation:
    """A signed header, and the payload that it promises."""

    def read(self, reader):
        signed = SIGNED_HEADER.read(reader)
        return {"signed_header": signed, "payload": reader.take(signed["header"]["payload_length"])}

    def write(self, value):
        return SIGNED_HEADER.write(value["signed_header"]) + value["payload"]


def op_id(header):
    return blake3.derive_key("concurrence v0 operation id", HEADER.write(header))


def verify_signed_header(signed):
    header = signed["header"]
    verdict = ed25519.verdict(header["author"], op_id(header), signed["signature"])
    if verdict != "accepted":
        raise Refused(verdict)


def verify_operation(op):
    if blake3.hash(op["payload"]) != op["signed_header"]["header"]["payload_hash"]:
        raise Refused("payload_hash")
    verify_signed_header(op["signed_header"])


# Fork proofs: protocol 4 and 5.

FORK_PROOF = Record(low=SIGNED_HEADER, high=SIGNED_HEADER)


def verify_fork_proof(proof):
    low, high = proof["low"]["header"], proof["high"]["header"]
    if any(low[field] != high[field] for field in ("author", "log", "seq")):
        raise Refused("two_positions")
    if not op_id(low) < op_id(high):
        raise Refused("not_ordered")
    verify_signed_header(proof["low"])
    verify_signed_header(proof["high"])


# Votes, certificates, double votes: decisions/003.

SIGNERS_MAX = 255
PROOF_LEN_MAX = 1 + 110 + 2 + SIGNERS_MAX * (32 + SIGNATURE_LEN)


class Kind:
    """The byte that tells one kind of proof from the others."""

    def __init__(self, kind):
        self.kind = kind

    def read(self, reader):
        if U8.read(reader) != self.kind:
            raise Refused("not_canonical: kind of a proof")
        return self.kind

    def write(self, value):
        return U8.write(value)


LOG_HEAD = Checked(
    Record(
        version=Version(),
        network_id=Network(),
        epoch=U32,
        author=HASH,
        log=Number(1, "log index", LOGS_MAX - 1),
        len=U64,
        head=HASH,
    ),
    (lambda h: h["len"] > 0, "not_canonical: length of a head"),
)

SIGNED = Record(head=LOG_HEAD, signature=Bytes(SIGNATURE_LEN))
HEAD_VOTE = Record(kind=Kind(1), head=LOG_HEAD, voter=HASH, signature=Bytes(SIGNATURE_LEN))
CERTIFICATE = Record(
    kind=Kind(2),
    head=LOG_HEAD,
    signatures=Checked(
        List(Number(2, "signers", SIGNERS_MAX), Record(voter=HASH, signature=Bytes(SIGNATURE_LEN))),
        (lambda s: is_ascending([one["voter"] for one in s]), "not_canonical: order of signers"),
    ),
)
DOUBLE_VOTE = Record(kind=Kind(3), voter=HASH, low=SIGNED, high=SIGNED)


def head_digest(head):
    return blake3.derive_key("concurrence v0 head statement", LOG_HEAD.write(head))


def verify_head(head, voter, signature):
    verdict = ed25519.verdict(voter, head_digest(head), signature)
    if verdict != "accepted":
        raise Refused(verdict)


def verify_head_vote(vote):
    verify_head(vote["head"], vote["voter"], vote["signature"])


def verify_certificate(certificate):
    for one in certificate["signatures"]:
        verify_head(certificate["head"], one["voter"], one["signature"])


def verify_double_vote(proof):
    low, high = proof["low"]["head"], proof["high"]["head"]
    if any(low[field] != high[field] for field in ("author", "log", "len")) or not low["head"] < high["head"]:
        raise Refused("no_contradiction")
    for half in (proof["low"], proof["high"]):
        verify_head(half["head"], proof["voter"], half["signature"])


# Frontiers and frames: protocol 2.

AUTHORS_MAX, FRAME_LEN_MAX = 4_096, 1 << 20

FRONTIER = Checked(
    Record(
        entries=List(
            Number(4, "frontier entries", AUTHORS_MAX * LOGS_MAX),
            Checked(
                Record(author=U16, log=U8, len=U64, head=HASH, open=U32),
                (lambda e: e["log"] < LOGS_MAX and e["len"] > 0, "not_canonical: frontier entry"),
                (lambda e: e["open"] <= e["len"], "not_canonical: frontier entry"),
            ),
        ),
        forked=List(Number(4, "forked authors", AUTHORS_MAX), U16),
        double_voters=List(Number(4, "double voters", AUTHORS_MAX), U16),
        wanted=List(
            Number(4, "wanted operations", 16),
            Checked(
                Record(author=U16, log=U8, seq=U64, id=HASH),
                (lambda w: w["log"] < LOGS_MAX, "not_canonical: wanted operation"),
            ),
        ),
    ),
    (lambda f: is_ascending([(e["author"], e["log"]) for e in f["entries"]]), "not_canonical: frontier entry"),
    (lambda f: is_ascending(f["forked"]), "not_canonical: order of forked authors"),
    (lambda f: is_ascending(f["double_voters"]), "not_canonical: order of double voters"),
    (lambda f: is_ascending([tuple(w.values()) for w in f["wanted"]]), "not_canonical: wanted operation"),
)

FRAMES = (
    ("hello", Record(version=U8, network_id=HASH, registry_digest=HASH, now_ms=U64, frontier_digest=HASH,
                     operations_admitted=U64)),
    ("refuse", Checked(Record(code=U8), (lambda f: f["code"] < 4, "not_canonical: refusal code"))),
    ("digest", Record(now_ms=U64, frontier_digest=HASH, operations_admitted=U64)),
    ("pull", Record(now_ms=U64, credit=U32, frontier=FRONTIER)),
    ("delta", Record(
        now_ms=U64,
        frontier_digest=HASH,
        more=Flag("more"),
        proofs=List(Number(4, "proofs", 128), Sized(Number(4, "proof length", PROOF_LEN_MAX))),
        operations=List(Number(4, "operations", 2_373), Sized(Number(4, "operation length", OP_LEN_MAX))),
    )),
    ("op", Record(operation=Rest("operation length", OP_LEN_MAX))),
    ("proof", Record(proof=Rest("proof length", PROOF_LEN_MAX))),
    ("fetch", Record(id=HASH)),
    ("proofs", Record(proofs=List(Number(4, "proofs", 256), Sized(Number(4, "proof length", PROOF_LEN_MAX))))),
)


class Frame:
    """A tag, and the fields that belong to it. What operations and proofs inside hold is judged one by one, later."""

    def read(self, reader):
        if reader.left() > FRAME_LEN_MAX:
            raise Refused("frame_length")
        tag = U8.read(reader)
        if tag >= len(FRAMES):
            raise Refused("frame_tag")
        name, fields = FRAMES[tag]
        return {"tag": name, **fields.read(reader)}

    def write(self, value):
        tag = [name for name, _ in FRAMES].index(value["tag"])
        return U8.write(tag) + FRAMES[tag][1].write(value)


# The price batch: decisions/001, "The price batch".

BATCH_GROUPS_MAX, GROUP_FEEDS_MAX, BATCH_FEEDS_MAX = 7, 16, 100
DOUBTFUL = 1 << 63


class Feed:
    """Category 1 and `BASE/QUOTE`, padded with zeros to 21 bytes; each side 1 to 10 upper-case letters or digits."""

    def read(self, reader):
        data = reader.take(21)
        text = data[1:].rstrip(b"\0").decode("latin-1")
        sides = text.split("/")
        is_good = data[0] == 1 and len(sides) == 2 and sides[0] != sides[1] and all(map(self.is_currency, sides))
        if not is_good:
            raise Refused("feed_form")
        return text

    @staticmethod
    def is_currency(text):
        return 1 <= len(text) <= 10 and all("A" <= c <= "Z" or "0" <= c <= "9" for c in text)

    def write(self, value):
        return b"\1" + value.encode().ljust(20, b"\0")


FEED = Feed()
HEAD = Record(feed=FEED, exponent=Number(1, signed=True))
WORD = Record(price=U64, half_width=U16, sources=U16)


class Group:
    """First the feeds with their exponents, then their words, then the signature over both."""

    def read(self, reader, is_last):
        count = U8.read(reader)
        if not 1 <= count <= GROUP_FEEDS_MAX or (count < GROUP_FEEDS_MAX and not is_last):
            raise Refused("batch_grouping")
        heads = [HEAD.read(reader) for _ in range(count)]
        words = [WORD.read(reader) for _ in range(count)]
        feeds = [self.attestation(head, word) for head, word in zip(heads, words)]
        signature = reader.take(SIGNATURE_LEN)
        if evm.malformed(signature):
            raise Refused(evm.malformed(signature))
        return {"feeds": feeds, "signature": signature}

    @staticmethod
    def attestation(head, word):
        mantissa = word["price"] & ~DOUBTFUL
        if not -18 <= head["exponent"] <= 0:
            raise Refused("exponent")
        if mantissa == 0:
            raise Refused("mantissa")
        rest = {"half_width": word["half_width"], "sources": word["sources"]}
        return {**head, "doubtful": word["price"] & DOUBTFUL != 0, "mantissa": mantissa, **rest}

    @staticmethod
    def heads(group):
        return b"".join(map(HEAD.write, group["feeds"]))

    @staticmethod
    def words(group):
        return b"".join(
            WORD.write({**feed, "price": feed["mantissa"] | (DOUBTFUL if feed["doubtful"] else 0)})
            for feed in group["feeds"]
        )

    def write(self, value):
        return U8.write(len(value["feeds"])) + self.heads(value) + self.words(value) + value["signature"]


class PriceBatch:
    """Groups of sixteen, the last one of what is left, feeds ascending over all of them."""

    fields = Record(slot=U64, legs_hash=HASH)

    def read(self, reader):
        batch = self.fields.read(reader)
        count = U8.read(reader)
        if count > BATCH_GROUPS_MAX:
            raise Refused("batch_groups")
        batch["groups"] = [Group().read(reader, is_last=number + 1 == count) for number in range(count)]
        feeds = [FEED.write(feed["feed"]) for group in batch["groups"] for feed in group["feeds"]]
        if not 1 <= len(feeds) <= BATCH_FEEDS_MAX:
            raise Refused("batch_feeds")
        if not is_ascending(feeds):
            raise Refused("feed_repeated" if len(set(feeds)) < len(feeds) else "feed_order")
        return batch

    def write(self, value):
        groups = b"".join(map(Group().write, value["groups"]))
        return self.fields.write(value) + U8.write(len(value["groups"])) + groups


def group_digest(network_id, epoch, batch, group):
    return evm.digest(network_id, epoch, batch["slot"], Group.heads(group), Group.words(group))


def verify_price_batch(batch, network_id, epoch, registered):
    """Each group must be signed by the address that the epoch registers for the author."""
    for group in batch["groups"]:
        signer = evm.recover(group_digest(network_id, epoch, batch, group), group["signature"])
        if signer is None:
            raise Refused("evm_unrecoverable")
        if signer != registered:
            raise Refused("evm_signer")


# The legs record: decisions/001, "Legs hash".


class Price:
    """0, or 1 and a signed 128-bit integer in units of 1e-18."""

    present, units = Flag("presence of a price"), Number(16, signed=True)

    def read(self, reader):
        return self.units.read(reader) if self.present.read(reader) else "none"

    def write(self, value):
        return b"\0" if value == "none" else b"\1" + self.units.write(value)


class Symbol:
    """1 to 32 bytes of printable ASCII without spaces."""

    sized = Sized(Number(1, "bytes of a symbol", 32))

    def read(self, reader):
        symbol = self.sized.read(reader)
        if not symbol or any(not 0x21 <= byte <= 0x7E for byte in symbol):
            raise Refused("not_canonical: symbol")
        return symbol.decode()

    def write(self, value):
        return self.sized.write(value.encode())


LEG = Checked(
    Record(source=U8, symbol=Symbol(), raw=Price(), converted=Price(), verdict=U8),
    (lambda leg: leg["source"] < 16, "not_canonical: source index"),
    (lambda leg: leg["verdict"] < 12, "not_canonical: verdict"),
)

LEGS_RECORD = Record(
    feeds=List(
        Number(1, "feeds of a legs record", BATCH_FEEDS_MAX),
        Record(feed=FEED, legs=List(Number(1, "legs of a feed", 64), LEG)),
    )
)

# What is hashed but never sent: decisions/001, "Other hashes".

TEXT = Sized(U64)
LOG_STATE = Record(author=HASH, log=U8, len=U64, head=HASH)
MEMBER = Record(name=TEXT, author=HASH, evm=Bytes(20), peer=TEXT, weight=U64)
HASHED = {
    "frontier_digest": ("concurrence v0 frontier", Record(logs=List(U32, LOG_STATE), forked=List(U32, HASH))),
    "history_digest": (
        "concurrence v0 history",
        Record(
            cut=HASH,
            certified=List(U32, U64),
            double_voters=List(U32, HASH),
            frozen=List(U32, Record(author=HASH, log=U8)),
        ),
    ),
    "registry_digest": (
        "concurrence v0 registry history",
        Record(network=TEXT, network_id=HASH, epochs=List(U64, List(U64, MEMBER))),
    ),
    "result_id": (
        "concurrence v0 aggregate result",
        Record(cut=HASH, as_of_ms=U64, registry_digest=HASH, feed=FEED, window_ms=U64, max_age_ms=U64, sources_min=U8,
               width_max_ppm=U32),
    ),
}

# The request, which carries frames over a stream: protocol 1, "Requests".

RECORD_LEN_MAX = (FRAME_LEN_MAX, 65_536)  # by kind: directed frame, broadcast message
RECORDS_MAX, REQUEST_LEN_MAX = 256, FRAME_LEN_MAX + 5


class Request:
    """Records up to the end of the stream."""

    header = Record(kind=U8, length=U32)

    def read(self, reader):
        records, total = [], 0
        while reader.left():
            if reader.left() < 5:
                raise Refused("request_header_cut")
            kind, length = self.header.read(reader).values()
            if kind >= len(RECORD_LEN_MAX):
                raise Refused("request_kind")
            if length > RECORD_LEN_MAX[kind]:
                raise Refused("request_record_length")
            total += 5 + length
            if total > REQUEST_LEN_MAX or len(records) == RECORDS_MAX:
                raise Refused("request_too_much")
            if length > reader.left():
                raise Refused("request_body_cut")
            records.append({"kind": kind, "body": reader.take(length)})
        if not records:
            raise Refused("request_empty")
        return {"records": records}

    def write(self, value):
        header = lambda r: self.header.write({"kind": r["kind"], "length": len(r["body"])})
        return b"".join(header(record) + record["body"] for record in value["records"])


# The sidecar beside a key file: protocol 6.


class Sidecar:
    """96 bytes, the last eight a checksum over the others."""

    fields = Record(store_id=Bytes(16), author=HASH, next_0=U64, next_1=U64, next_2=U64, next_3=U64)

    def read(self, reader):
        data = reader.take(reader.left())
        if len(data) != 96:
            raise Refused("sidecar_length")
        if data[:7] != b"CNCSIDE":
            raise Refused("sidecar_magic")
        if data[7] != 0:
            raise Refused("sidecar_version")
        if blake3.hash(data[:88])[:8] != data[88:]:
            raise Refused("sidecar_checksum")
        return self.fields.read(Reader(data[8:88], reader.network_id))

    def write(self, value):
        data = b"CNCSIDE\0" + self.fields.write(value)
        return data + blake3.hash(data)[:8]


FORMS = {
    "header": (HEADER, None),
    "signed_header": (SIGNED_HEADER, verify_signed_header),
    "operation": (Operation(), verify_operation),
    "fork_proof": (FORK_PROOF, verify_fork_proof),
    "head_vote": (HEAD_VOTE, verify_head_vote),
    "certificate": (CERTIFICATE, verify_certificate),
    "double_vote": (DOUBLE_VOTE, verify_double_vote),
    "frontier": (FRONTIER, None),
    "frame": (Frame(), None),
    "price_batch": (PriceBatch(), None),
    "legs_record": (LEGS_RECORD, None),
    "request": (Request(), None),
    "sidecar": (Sidecar(), None),
    **{name: (codec, None) for name, (_, codec) in HASHED.items()},
}


def decode(form, data, network_id):
    """The fields of the whole of some bytes, whose signatures are then verified, or `Refused`."""
    codec, verify = FORMS[form]
    reader = Reader(data, network_id)
    value = codec.read(reader)
    if reader.left():
        raise Refused("trailing")
    if verify:
        verify(value)
    return value


def encode(form, value):
    return FORMS[form][0].write(value)


def plain(value):
    """A value as the vector files show it: integers as text, bytes as hex."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    return value if isinstance(value, (bool, str)) else str(value)


def main(form, text):
    import json

    data = bytes.fromhex(text)
    # An operation names its network; whoever only looks at it accepts any.
    network_id = data[1:33]
    try:
        print(json.dumps(plain(decode(form, data, network_id)), indent=1))
    except Refused as refused:
        sys.exit(f"refused: {refused}")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in FORMS:
        sys.exit(f"usage: decode.py FORM HEX, FORM being one of: {', '.join(FORMS)}")
    main(*sys.argv[1:])
