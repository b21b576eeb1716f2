"""BLAKE3 in plain Python: `hash` and `derive_key` with 32 bytes of output.

Written from the BLAKE3 paper, section 2. A message is cut into chunks of 1,024 bytes, the leaves of a binary tree whose
left subtrees are complete. Each leaf chains its blocks of 64 bytes; each parent compresses the values of its children.
"""

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)

CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
DERIVE_KEY_CONTEXT, DERIVE_KEY_MATERIAL = 32, 64

CHUNK_LEN, BLOCK_LEN = 1024, 64
MASK = 0xFFFFFFFF

# Which words of the state one mixing touches: four columns, then four diagonals.
LANES = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)


def hash(data):
    """The plain hash."""
    return _root(_tree(data, IV, 0, 0))


def derive_key(context, data):
    """The hash of `data` in the domain `context`, which is text."""
    key = _words(_root(_tree(context.encode(), IV, 0, DERIVE_KEY_CONTEXT)))
    return _root(_tree(data, key, 0, DERIVE_KEY_MATERIAL))


def _tree(data, key, number, flags):
    """The last compression of a subtree, not yet done: only its caller knows whether it is the root."""
    if len(data) <= CHUNK_LEN:
        return _chunk(data, key, number, flags)
    # The greatest complete subtree that leaves at least a byte for the right one.
    left = 1 << ((len(data) - 1) // CHUNK_LEN).bit_length() - 1
    split = left * CHUNK_LEN
    children = (_tree(data[:split], key, number, flags), _tree(data[split:], key, number + left, flags))
    block = tuple(word for child in children for word in _compress(*child))
    return key, block, 0, BLOCK_LEN, flags | PARENT


def _chunk(data, key, number, flags):
    blocks = [data[at : at + BLOCK_LEN] for at in range(0, len(data), BLOCK_LEN)] or [b""]
    value, start = key, CHUNK_START
    for block in blocks[:-1]:
        value, start = _compress(value, _words(block), number, BLOCK_LEN, flags | start), 0
    last = blocks[-1]
    return value, _words(last.ljust(BLOCK_LEN, b"\0")), number, len(last), flags | start | CHUNK_END


def _root(last):
    value, block, _, length, flags = last
    return b"".join(word.to_bytes(4, "little") for word in _compress(value, block, 0, length, flags | ROOT))


def _words(data):
    return tuple(int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4))


def _compress(value, block, number, length, flags):
    """Seven rounds over sixteen words; the result is the first half of the state, each word with one of the second half."""
    state = [*value, *IV[:4], number & MASK, number >> 32, length, flags]
    for _ in range(7):
        for at, (a, b, c, d) in enumerate(LANES):
            wa, wb, wc, wd = state[a], state[b], state[c], state[d]
            wa = (wa + wb + block[2 * at]) & MASK
            wd ^= wa
            wd = (wd >> 16 | wd << 16) & MASK
            wc = (wc + wd) & MASK
            wb ^= wc
            wb = (wb >> 12 | wb << 20) & MASK
            wa = (wa + wb + block[2 * at + 1]) & MASK
            wd ^= wa
            wd = (wd >> 8 | wd << 24) & MASK
            wc = (wc + wd) & MASK
            wb ^= wc
            wb = (wb >> 7 | wb << 25) & MASK
            state[a], state[b], state[c], state[d] = wa, wb, wc, wd
        block = tuple(block[at] for at in ORDER)
    return tuple(state[at] ^ state[at + 8] for at in range(8))


# Published with BLAKE3: length of the input, whose bytes count from 0 to 250 and begin again; hash; derived key.
KNOWN_CONTEXT = "BLAKE3 2019-12-27 16:29:52 test vectors context"
KNOWN = (
    (0,
     "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
     "2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d"),
    (1,
     "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
     "b3e2e340a117a499c6cf2398a19ee0d29cca2bb7404c73063382693bf66cb06c"),
    (1023,
     "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11",
     "74a16c1c3d44368a86e1ca6df64be6a2f64cce8f09220787450722d85725dea5"),
    (1024,
     "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
     "7356cd7720d5b66b6d0697eb3177d9f8d73a4a5c5e968896eb6a689684302706"),
    (1025,
     "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
     "effaa245f065fbf82ac186839a249707c3bddf6d3fdda22d1b95a3c970379bcb"),
    (2048,
     "e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a",
     "7b2945cb4fef70885cc5d78a87bf6f6207dd901ff239201351ffac04e1088a23"),
    (2049,
     "5f4d72f40d7a5f82b15ca2b2e44b1de3c2ef86c426c95c1af0b6879522563030",
     "2ea477c5515cc3dd606512ee72bb3e0e758cfae7232826f35fb98ca1bcbdf273"),
    (3073,
     "7124b49501012f81cc7f11ca069ec9226cecb8a2c850cfe644e327d22d3e1cd3",
     "72613c9ec9ff7e40f8f5c173784c532ad852e827dba2bf85b2ab4b76f7079081"),
    (5121,
     "628bd2cb2004694adaab7bbd778a25df25c47b9d4155a55f8fbd79f2fe154cff",
     "b07f01e518e702f7ccb44a267e9e112d403a7b3f4883a47ffbed4b48339b3c34"),
    (7169,
     "a003fc7a51754a9b3c7fae0367ab3d782dccf28855a03d435f8cfe74605e7817",
     "554b0a5efea9ef183f2f9b931b7497995d9eb26f5c5c6dad2b97d62fc5ac31d9"),
)


def self_test():
    """Raises unless the published vectors come out."""
    for length, digest, derived in KNOWN:
        data = bytes(at % 251 for at in range(length))
        assert hash(data).hex() == digest, f"BLAKE3 of {length} bytes"
        assert derive_key(KNOWN_CONTEXT, data).hex() == derived, f"BLAKE3 key derived from {length} bytes"
