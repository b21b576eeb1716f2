"""Reads every vector of this folder with `decode.py` and fails at the first that says otherwise: `python3 vectors/check.py`."""

import functools
import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True
FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))

import blake3
import decode
import ed25519
import evm
from decode import FORMS, HASHED, Group, Refused, group_digest, head_digest, op_id, plain

OPS_PER_MINUTE_MAX, BYTES_PER_MINUTE_MAX, MINUTE_MS, SLOT_MS = 240, 1_048_576, 60_000, 1_000


def same(found, expected, what):
    if found != expected:
        raise SystemExit(f"{what}: found {str(found)[:200]}, the file says {str(expected)[:200]}")


def unpacked(text):
    """Hex in which `byte*count` is a run."""
    pieces = (piece.split("*") for piece in text.split(" "))
    return "".join(piece[0] * int(piece[1]) if len(piece) == 2 else piece[0] for piece in pieces)


def data_of(vector, field="bytes"):
    return bytes.fromhex(unpacked(vector[field]))


def expanded(value):
    """Fields of a file with the runs in their hex written out."""
    if isinstance(value, dict):
        return {name: expanded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [expanded(item) for item in value]
    return unpacked(value) if isinstance(value, str) and "*" in value else value


def reason_of(read):
    """The name of a refusal, or `none`."""
    try:
        read()
    except Refused as refused:
        return str(refused)
    return "none"


# Forms.


def check_accepted(vector, network_id, registry=None):
    form, data, what = vector["form"], data_of(vector), f"{vector['form']}: {vector['name']}"
    value = decode.decode(form, data, network_id)
    check_voters(form, value, registry)
    same(shown(form, value), expanded(vector["fields"]), what)
    same(decode.encode(form, value), data, f"{what}, written again")
    same(derived(form, value, data, network_id), vector.get("derived", {}), f"{what}, derived")
    if len(data) < 1_000 and not (form == "frame" and value["tag"] in ("op", "proof")) and form not in ("request", "sidecar"):
        for length in range(len(data)):
            found = reason_of(lambda: decode.decode(form, data[:length], network_id))
            same(found, "truncated", f"{what}, cut to {length}")


def shown(form, value):
    """Fields as the files show them: without the version, which is always 0, and with text instead of its bytes."""
    fields = plain(value)
    headers = {
        "header": lambda f: [f],
        "signed_header": lambda f: [f["header"]],
        "operation": lambda f: [f["signed_header"]["header"]],
        "fork_proof": lambda f: [f["low"]["header"], f["high"]["header"]],
        "head_vote": lambda f: [f["head"]],
        "certificate": lambda f: [f["head"]],
        "double_vote": lambda f: [f["low"]["head"], f["high"]["head"]],
    }
    for header in headers.get(form, lambda _: [])(fields):
        del header["version"]
    if form in VOTING:
        del fields["kind"]
    return fields


VOTING = ("head_vote", "certificate", "double_vote")


def check_voters(form, value, registry):
    """Decision 003: whose votes count, and when they are enough."""
    if form not in VOTING:
        return
    heads = [value[name]["head"] for name in ("low", "high")] if form == "double_vote" else [value["head"]]
    voters = [one["voter"] for one in value["signatures"]] if form == "certificate" else [value["voter"]]
    for head in heads:
        if head["author"] not in registry.authors:
            raise Refused("stranger")
        if head["epoch"] >= len(registry.epochs):
            raise Refused("unknown_epoch")
        members = registry.epochs[head["epoch"]]
        if any(voter not in members for voter in voters):
            raise Refused("not_a_member")
        weights = dict(zip(members, capped([member["weight"] for member in members.values()])))
        if form == "certificate" and 3 * sum(weights[voter] for voter in voters) <= 2 * sum(weights.values()):
            raise Refused("no_quorum")


def derived(form, value, data, network_id):
    if form == "header":
        return {"id": op_id(value).hex()}
    if form == "signed_header":
        return {"id": op_id(value["header"]).hex()}
    if form == "operation":
        return {"id": op_id(value["signed_header"]["header"]).hex()}
    if form == "fork_proof":
        low, high = value["low"]["header"], value["high"]["header"]
        return {"author": low["author"].hex(), "low_id": op_id(low).hex(), "high_id": op_id(high).hex()}
    if form in ("head_vote", "certificate"):
        return {"digest": head_digest(value["head"]).hex()}
    if form == "frame":
        check_inside(value, network_id)
        return {"message_id": blake3.hash(data).hex()}
    if form == "legs_record":
        return {"legs_hash": blake3.derive_key("concurrence v0 legs of a price batch", data).hex()}
    if form == "price_batch":
        groups = [contract_view(network_id, 0, value, group) for group in value["groups"]]
        return {"epoch": "0", "groups": groups}
    return {}


def check_inside(frame, network_id):
    """What the vectors' frames carry is good itself."""
    operations = frame.get("operations", []) + [frame[name] for name in ("operation",) if name in frame]
    proofs = frame.get("proofs", []) + [frame[name] for name in ("proof",) if name in frame]
    for operation in operations:
        decode.decode("operation", operation, network_id)
    for proof in proofs:
        decode.decode(("fork_proof", *VOTING)[proof[0]], proof, network_id)


def contract_view(network_id, epoch, batch, group):
    heads, words = Group.heads(group), Group.words(group)
    digest = group_digest(network_id, epoch, batch, group)
    return {
        "feeds_hash": evm.feeds_hash(heads).hex(),
        "struct_hash": evm.struct_hash(epoch, batch["slot"], heads, words).hex(),
        "digest": digest.hex(),
        "signer": evm.recover(digest, group["signature"]).hex(),
    }


def check_refused(vector, network_id, registry=None):
    form, data = vector["form"], data_of(vector)
    found = reason_of(lambda: check_voters(form, decode.decode(form, data, network_id), registry))
    same(found, vector["reason"], f"{vector['form']}: {vector['name']}")


def check_refused_signer(vector, network_id):
    batch = decode.decode("price_batch", data_of(vector), network_id)
    epoch, registered = int(vector["epoch"]), data_of(vector, "registered")
    found = reason_of(lambda: decode.verify_price_batch(batch, network_id, epoch, registered))
    same(found, vector["reason"], vector["name"])


# Hashes.


class Registry:
    """What the rules ask of a registry."""

    def __init__(self, fields):
        self.epochs = [{member["author"]: member for member in epoch} for epoch in fields["epochs"]]
        self.authors = sorted({author for epoch in self.epochs for author in epoch})

    def number(self, author):
        return self.authors.index(author)


def capped(weights):
    """Each at most the greatest c that is less than a third of the capped sum; fewer than four weights as they are."""
    if len(weights) < 4:
        return weights
    fits = lambda c: 3 * c < sum(min(weight, c) for weight in weights)
    low, high = 1, max(weights) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return [min(weight, low) for weight in weights]


def check_hashed(vector, network_id, registry):
    form, data, what = vector["form"], data_of(vector), f"{vector['form']}: {vector['name']}"
    domain, _ = HASHED[form]
    same(vector["domain"], domain, what)
    value = decode.decode(form, data, network_id)
    same(decode.encode(form, value), data, f"{what}, written again")
    same(blake3.derive_key(domain, data).hex(), vector["digest"], f"{what}, digest")
    fields = plain(value)
    if form == "registry_digest":
        fields = with_text(value)
        for epoch in fields["epochs"]:
            weights = capped([int(member["weight"]) for member in epoch])
            for member, weight in zip(epoch, weights):
                member["capped_weight"] = str(weight)
        fields["author_numbers"] = [author.hex() for author in registry.authors]
    if form == "frontier_digest":
        # What is certified is no part of the cut: it stands in what is sent, and in the digest of the whole history.
        sent = vector["frontier"]["fields"]
        entries = [
            {**log, "author": registry.number(log["author"]), "open": int(entry["open"])}
            for log, entry in zip(value["logs"], sent["entries"])
        ]
        numbers = [registry.number(author) for author in value["forked"]]
        double_voters = [int(number) for number in sent["double_voters"]]
        frontier = {"entries": entries, "forked": numbers, "double_voters": double_voters, "wanted": []}
        same(decode.encode("frontier", frontier), data_of(vector["frontier"]), f"{what}, as sent")
        same(plain(frontier), expanded(vector["frontier"]["fields"]), f"{what}, as sent")
    same(fields, expanded(vector["fields"]), what)


def with_text(registry):
    members = [[{**m, "name": m["name"].decode(), "peer": m["peer"].decode()} for m in e] for e in registry["epochs"]]
    return plain({**registry, "network": registry["network"].decode(), "epochs": members})


# Rules.


def check_signature(vector):
    found = ed25519.verdict(data_of(vector, "key"), data_of(vector, "message"), data_of(vector, "signature"))
    same(found, vector["verdict"], vector["name"])


def check_small_order(section):
    points, message = [bytes.fromhex(unpacked(point)) for point in section["points"]], data_of(section, "message")
    for key in points:
        for r in points:
            same(ed25519.verdict(key, message, r + bytes(32)), "accepted", f"key {key.hex()}, R {r.hex()}")


def check_registration(vector):
    same(ed25519.registration(data_of(vector, "key")), vector["verdict"], vector["name"])


def check_extension(vector, network_id, registry):
    """Decision 001: what makes an operation valid, in this order."""
    data = data_of(vector)
    header = decode.decode("operation", data, network_id)["signed_header"]["header"]
    log = {name: int(text) for name, text in vector["log"].items() if name != "head"}
    same(verdict(header, len(data), log, data_of(vector["log"], "head"), registry), vector["verdict"], vector["name"])


def verdict(header, size, log, head, registry):
    if (header["seq"], header["prev"]) != (log["len"], head):
        return "not_next"
    if header["epoch"] >= len(registry.epochs):
        return "unknown_epoch"
    if header["author"] not in registry.epochs[header["epoch"]]:
        return "not_a_member"
    if header["epoch"] < log["epoch"]:
        return "epoch_falls"
    minute = header["declared_ms"] // MINUTE_MS
    if minute < log["minute"]:
        return "minute_falls"
    used = (log["operations_in_minute"], log["bytes_in_minute"]) if minute == log["minute"] else (0, 0)
    if used[0] + 1 > OPS_PER_MINUTE_MAX:
        return "operations_over_quota"
    return "bytes_over_quota" if used[1] + size > BYTES_PER_MINUTE_MAX else "valid"


def check_price_operation(vector, network_id, registry):
    op = decode.decode("operation", data_of(vector), network_id)
    same(finding(op, network_id, registry), vector["verdict"], vector["name"])


def finding(op, network_id, registry):
    """Protocol 8, step 1."""
    header = op["signed_header"]["header"]
    try:
        batch = decode.decode("price_batch", op["payload"], network_id)
        if batch["slot"] != header["declared_ms"] // SLOT_MS:
            return "wrong_slot"
        registered = registry.epochs[header["epoch"]][header["author"]]["evm"]
        decode.verify_price_batch(batch, network_id, header["epoch"], registered)
    except Refused as refused:
        return "bad_signature" if str(refused).startswith("evm_") else "bad_payload"
    return "counts"


# Files.


def load(name):
    return json.loads((FOLDER / name).read_text())


def check_wire():
    file = load("wire.json")
    network_id = data_of(file, "network_id")
    history = next(vector for vector in file["hashed"] if vector["form"] == "registry_digest")
    registry = Registry(decode.decode("registry_digest", data_of(history), network_id))
    for vector in file["accepted"]:
        check_accepted(vector, network_id, registry)
    for vector in file["hashed"]:
        check_hashed(vector, network_id, registry)
    for vector in file["refused"]:
        check_refused(vector, network_id, registry)
    for vector in file["refused_signers"]:
        check_refused_signer(vector, network_id)
    for vector in file["signatures"]:
        check_signature(vector)
    check_small_order(file["small_order"])
    for vector in file["registrations"]:
        check_registration(vector)
    for vector in file["extensions"]:
        check_extension(vector, network_id, registry)
    for vector in file["price_operations"]:
        check_price_operation(vector, network_id, registry)
    return {name: len(vectors) for name, vectors in file.items() if isinstance(vectors, list)}


def check_plain_file(name):
    """A file of one form: what is accepted and what is refused."""
    file = load(name)
    for vector in file["accepted"]:
        check_accepted(vector, bytes(32))
    for vector in file["refused"]:
        check_refused(vector, bytes(32))
    return {part: len(file[part]) for part in ("accepted", "refused")}


def check_price_groups():
    """Groups that a third library signed; exponents here go beyond those of batches."""
    vectors = load("eip712_price_group.json")
    bare = lambda text: bytes.fromhex(text[2:])
    for vector in vectors:
        heads = b"".join(bare(f["feed"]) + f["expo"].to_bytes(1, "big", signed=True) for f in vector["feeds"])
        words = b"".join(
            (int(f["mantissa"]) | f["doubtful"] << 63).to_bytes(8, "big")
            + f["half_width"].to_bytes(2, "big")
            + f["sources"].to_bytes(2, "big")
            for f in vector["feeds"]
        )
        what, epoch, slot = vector["label"], vector["epoch"], vector["slot"]
        digest = evm.digest(bare(vector["network_id"]), epoch, slot, heads, words)
        same(words, bare(vector["words"]), what)
        same(evm.feeds_hash(heads), bare(vector["feeds_hash"]), what)
        same(evm.struct_hash(epoch, slot, heads, words), bare(vector["struct_hash"]), what)
        same(digest, bare(vector["digest"]), what)
        same(evm.malformed(bare(vector["signature"])), None, what)
        same(evm.recover(digest, bare(vector["signature"])), bare(vector["address"]), what)
    return {"groups": len(vectors)}


def check_price_reports():
    """Reports that a third library hashed, proved and signed; the definition is contracts/docs/report.md."""
    vectors = load("eip712_price_report.json")
    bare = lambda text: bytes.fromhex(text[2:])
    for vector in vectors:
        what, hashes = vector["label"], []
        for leaf in vector["leaves"]:
            hashes.append(evm.keccak256(bare(leaf["feed"]) + leaf["expo"].to_bytes(1, "big", signed=True) + bare(leaf["word"])))
            same(hashes[-1], bare(leaf["hash"]), what)
        top = evm.root(hashes)
        same(top, bare(vector["root"]), what)
        for leaf, hash_ in zip(vector["leaves"], hashes):
            same(functools.reduce(evm.node, map(bare, leaf["proof"]), hash_), top, what)
        inner = evm.report_struct_hash(vector["epoch"], vector["slot"], top)
        digest = evm.typed_digest(bare(vector["network_id"]), inner)
        same(inner, bare(vector["struct_hash"]), what)
        same(digest, bare(vector["digest"]), what)
        same(evm.malformed(bare(vector["signature"])), None, what)
        same(evm.recover(digest, bare(vector["signature"])), bare(vector["address"]), what)
    return {"reports": len(vectors)}


def check_differential():
    """Nothing to decode: digests over cases that crates/core/oracle and the contracts draw and answer alike."""
    vectors = load("differential.json")
    for vector in vectors:
        same(len(bytes.fromhex(vector["digest"][2:])), 32, vector["cases"])
    return {"runs": len(vectors)}


def main():
    blake3.self_test()
    evm.self_test()
    checks = {
        "wire.json": check_wire,
        "request.json": lambda: check_plain_file("request.json"),
        "sidecar.json": lambda: check_plain_file("sidecar.json"),
        "eip712_price_group.json": check_price_groups,
        "eip712_price_report.json": check_price_reports,
        "differential.json": check_differential,
    }
    # A file that nobody reads proves nothing.
    same(sorted(path.name for path in FOLDER.glob("*.json")), sorted(checks), "files of vectors")
    for name, check in checks.items():
        counts = ", ".join(f"{count} {part}" for part, count in check().items())
        print(f"{name}: {counts}")


if __name__ == "__main__":
    main()
