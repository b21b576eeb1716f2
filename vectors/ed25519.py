"""Ed25519 verification under ZIP-215, and the check of keys at registration, in plain integers.

ZIP-215 differs from RFC 8032 in three places, so that verifying alone and in a batch always agree: y may be given by any
32 bytes, also by such as are not below p; an x of zero may have either sign; the equation is multiplied by the cofactor.
"""

from hashlib import sha512

P = 2**255 - 19  # of the field
L = 2**252 + 27742317777372353535851937790883648493  # of the group that the base point generates
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)

# Points are (X, Y, Z, T) with x = X/Z, y = Y/Z, xy = T/Z.
IDENTITY = (0, 1, 1, 0)


def verdict(key, message, signature):
    """`accepted`, or the name of the refusal."""
    a = decompress(key)
    if a is None:
        return "key_not_canonical"
    r, s = decompress(signature[:32]), int.from_bytes(signature[32:], "little")
    if r is None or s >= L:
        return "signature"
    k = int.from_bytes(sha512(signature[:32] + key + message).digest(), "little") % L
    # 8 (sB - kA - R) must vanish.
    rest = add(multiply(s, BASE), negate(add(multiply(k, a), r)))
    return "accepted" if is_identity(multiply(8, rest)) else "signature"


def registration(key):
    """`accepted`, or the name of the refusal. A key that is registered is compared as bytes, and must be somebody's."""
    point = decompress(key)
    if point is None or y_of(key) >= P:
        return "key_not_canonical"
    return "key_small_order" if is_identity(multiply(8, point)) else "accepted"


def y_of(data):
    return int.from_bytes(data, "little") & (1 << 255) - 1


def decompress(data):
    """The point of 32 bytes: y, little-endian, and the lowest bit of x in the last bit. None if there is none."""
    y, sign = y_of(data) % P, data[31] >> 7
    # -x^2 + y^2 = 1 + d x^2 y^2
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * ROOT_OF_MINUS_ONE % P
    if x * x % P != square:
        return None
    if x & 1 != sign:
        x = -x % P
    return (x, y, 1, x * y % P)


def add(p, q):
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def negate(p):
    return (-p[0] % P, p[1], p[2], -p[3] % P)


def multiply(scalar, p):
    result = IDENTITY
    while scalar:
        if scalar & 1:
            result = add(result, p)
        p, scalar = add(p, p), scalar >> 1
    return result


def is_identity(p):
    return p[0] == 0 and p[1] == p[2]


BASE = decompress((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
