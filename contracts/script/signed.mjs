// What the scripts that write signed vectors share: feeds and words as bytes, one test key a label, one form of file.
// Hashing and signing are ethers', so that neither our Rust nor our Solidity vouches for itself.
import { readFileSync, writeFileSync } from "node:fs";
import { SigningKey, TypedDataEncoder, computeAddress, concat, hexlify, id, recoverAddress, toBeHex, toUtf8Bytes } from "ethers";

const DOUBTFUL = 1n << 63n;

/** Feed of the FTSOv2 form: category 01 (crypto), ASCII name, zeros up to 21 bytes. */
export function feedId(name) {
  const bytes = new Uint8Array(21);
  bytes[0] = 1;
  bytes.set(toUtf8Bytes(name), 1);
  return hexlify(bytes);
}

/** Feed and exponent, as both lanes hash them. */
export const feedBytes = (feed, expo) => concat([feed, toBeHex(BigInt.asUintN(8, BigInt(expo)), 1)]);

/** The 12 bytes of one price: mantissa with the doubtful flag, half-width, sources. */
export const word = ({ mantissa, doubtful = false, half_width, sources }) =>
  concat([toBeHex(BigInt(mantissa) | (doubtful ? DOUBTFUL : 0n), 8), toBeHex(half_width, 2), toBeHex(sources, 2)]);

/** Throws unless the feeds of a vector strictly ascend. */
export function mustAscend(label, entries) {
  for (let i = 1; i < entries.length; i++) {
    if (!(entries[i - 1].feed < entries[i].feed)) throw new Error(`${label}: feeds must strictly ascend`);
  }
}

/** The hashes of a message in a network's domain, and the signature of the label's own test key. */
export function signed(label, network, type, types, message) {
  const network_id = id(network);
  const key = new SigningKey(id(`concurrence test key: ${label}`));
  const digest = TypedDataEncoder.hash({ name: "Concurrence", version: "0", salt: network_id }, types, message);
  const signature = key.sign(digest);
  const address = computeAddress(key.publicKey);
  if (recoverAddress(digest, signature) !== address) throw new Error(`${label}: does not recover`);
  return {
    network_id,
    private_key: key.privateKey,
    address: address.toLowerCase(),
    struct_hash: TypedDataEncoder.hashStruct(type, types, message),
    digest,
    signature: signature.compactSerialized,
  };
}

/** Writes a file of vectors/; with --check exits with 1 unless it is what would be written. */
export function write(name, script, what, vectors) {
  const file = new URL(`../../vectors/${name}`, import.meta.url);
  const text = JSON.stringify(vectors, null, 2) + "\n";
  if (!process.argv.includes("--check")) {
    writeFileSync(file, text);
  } else if (readFileSync(file, "utf8") !== text) {
    console.error(`vectors/${name} is not what script/${script} writes`);
    process.exit(1);
  }
  console.log(`${vectors.length} vectors of ${what}`);
}
