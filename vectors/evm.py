"""What contracts check, in plain integers: Keccak-256, EIP-712 digests of price groups and reports, and who signed them."""

MASK = 2**64 - 1

# Rotation of each lane and the round constants come from the same small rules as in the Keccak reference, section 1.2.


def _round_constants():
    state, constants = 1, []
    for _ in range(24):
        constant = 0
        for power in range(7):
            if state & 1:
                constant |= 1 << (1 << power) - 1
            state = state << 1 ^ (0x171 if state & 0x80 else 0)
        constants.append(constant)
    return constants


def _rotations():
    rotations, x, y = {(0, 0): 0}, 1, 0
    for step in range(24):
        rotations[x, y] = (step + 1) * (step + 2) // 2 % 64
        x, y = y, (2 * x + 3 * y) % 5
    return rotations


ROUND_CONSTANTS, ROTATIONS = _round_constants(), _rotations()


def _rotate(lane, by):
    return (lane << by | lane >> 64 - by) & MASK


def _permute(lanes):
    for constant in ROUND_CONSTANTS:
        column = [lanes[x, 0] ^ lanes[x, 1] ^ lanes[x, 2] ^ lanes[x, 3] ^ lanes[x, 4] for x in range(5)]
        mixed = [column[(x + 4) % 5] ^ _rotate(column[(x + 1) % 5], 1) for x in range(5)]
        moved = {}
        for (x, y), by in ROTATIONS.items():
            moved[y, (2 * x + 3 * y) % 5] = _rotate(lanes[x, y] ^ mixed[x], by)
        for x, y in ROTATIONS:
            lanes[x, y] = moved[x, y] ^ ~moved[(x + 1) % 5, y] & moved[(x + 2) % 5, y]
        lanes[0, 0] ^= constant


def keccak256(data):
    """Keccak with a rate of 136 bytes and the old padding: what the EVM has, not SHA3-256."""
    rate = 136
    padded = bytearray(data + b"\1" + b"\0" * ((-len(data) - 1) % rate))
    padded[-1] |= 0x80
    lanes = {position: 0 for position in ROTATIONS}
    for block in range(0, len(padded), rate):
        for at in range(rate // 8):
            start = block + 8 * at
            lanes[at % 5, at // 5] ^= int.from_bytes(padded[start : start + 8], "little")
        _permute(lanes)
    return b"".join(lanes[x, 0].to_bytes(8, "little") for x in range(4))


DOMAIN_TYPE = b"EIP712Domain(string name,string version,bytes32 salt)"
GROUP_TYPE = b"PriceGroup(uint32 epoch,uint64 slot,bytes32 feeds,bytes words)"
REPORT_TYPE = b"PriceReport(uint32 epoch,uint64 slot,bytes32 root)"


def feeds_hash(heads):
    """`heads` are the group's n x (feed 21, exponent 1), joined."""
    return keccak256(heads)


def struct_hash(epoch, slot, heads, words):
    numbers = epoch.to_bytes(32, "big") + slot.to_bytes(32, "big")
    return keccak256(keccak256(GROUP_TYPE) + numbers + feeds_hash(heads) + keccak256(words))


def digest(network_id, epoch, slot, heads, words):
    return typed_digest(network_id, struct_hash(epoch, slot, heads, words))


def report_struct_hash(epoch, slot, root):
    return keccak256(keccak256(REPORT_TYPE) + epoch.to_bytes(32, "big") + slot.to_bytes(32, "big") + root)


def typed_digest(network_id, inner):
    """The EIP-712 digest of a structure in the domain of a network."""
    domain = keccak256(keccak256(DOMAIN_TYPE) + keccak256(b"Concurrence") + keccak256(b"0") + network_id)
    return keccak256(b"\x19\x01" + domain + inner)


def node(one, other):
    """An inner node of a report's tree: the lesser child first."""
    return keccak256(min(one, other) + max(one, other))


def root(leaves):
    """Neighbours are joined level by level; a last one without a neighbour moves up as it is."""
    level = leaves
    while len(level) > 1:
        pairs = [level[at : at + 2] for at in range(0, len(level), 2)]
        level = [node(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return level[0]


# secp256k1: y^2 = x^3 + 7 over the field of P; N points; generator G. Affine points, None for infinity.
P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)


def split(signature):
    """r, whether y is odd, and s of an EIP-2098 signature: the top bit of its second half is y's parity."""
    r, rest = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    return r, rest >> 255, rest & (1 << 255) - 1


def malformed(signature):
    """The name of the refusal of a signature that cannot be anybody's, or None."""
    r, _, s = split(signature)
    if not (0 < r < N and 0 < s < N):
        return "evm_range"
    return "evm_high_s" if s > N // 2 else None


def recover(digest, signature):
    """The address whose key signed a digest, or None."""
    r, is_odd, s = split(signature)
    square = (r**3 + 7) % P
    y = pow(square, (P + 1) // 4, P)
    if y * y % P != square:
        return None
    point = (r, y if y & 1 == is_odd else P - y)
    inverse, z = pow(r, -1, N), int.from_bytes(digest, "big")
    key = _add(_multiply(s * inverse % N, point), _multiply(-z * inverse % N, G))
    return key and keccak256(key[0].to_bytes(32, "big") + key[1].to_bytes(32, "big"))[12:]


def _add(p, q):
    if p is None or q is None:
        return p or q
    if p[0] == q[0]:
        if (p[1] + q[1]) % P == 0:
            return None
        slope = 3 * p[0] * p[0] * pow(2 * p[1], -1, P) % P
    else:
        slope = (q[1] - p[1]) * pow(q[0] - p[0], -1, P) % P
    x = (slope * slope - p[0] - q[0]) % P
    return x, (slope * (p[0] - x) - p[1]) % P


def _multiply(scalar, p):
    result = None
    while scalar:
        if scalar & 1:
            result = _add(result, p)
        p, scalar = _add(p, p), scalar >> 1
    return result


def self_test():
    """Raises unless the hash of nothing and the type hashes of docs/decisions/001-op-bytes.md come out."""
    known = (
        (b"", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
        (DOMAIN_TYPE, "599a80fcaa47b95e2323ab4d34d34e0cc9feda4b843edafcc30c7bdf60ea15bf"),
        (GROUP_TYPE, "c02c9df6730f33c68066b9d8a128bab68275b3294ba2d99bfb678105c31b0d27"),
    )
    for data, expected in known:
        assert keccak256(data).hex() == expected, f"Keccak-256 of {data!r}"
