// Writes vectors/eip712_price_report.json, the golden vectors of signed reports: leaves, tree, proofs, digest, signature.
// Hashing and signing are ethers', so that neither our Rust nor our Solidity vouches for itself. contracts/docs/report.md is the definition.
//   node script/report-vectors.mjs            write the file
//   node script/report-vectors.mjs --check    exit 1 unless the file is what this script would write
import { readFileSync, writeFileSync } from "node:fs";
import { SigningKey, TypedDataEncoder, computeAddress, concat, hexlify, id, keccak256, recoverAddress, toBeHex, toUtf8Bytes } from "ethers";

const FILE = new URL("../../vectors/eip712_price_report.json", import.meta.url);
const TYPES = {
  PriceReport: [
    { name: "epoch", type: "uint32" },
    { name: "slot", type: "uint64" },
    { name: "root", type: "bytes32" },
  ],
};

/** Feed of the FTSOv2 form: category 01 (crypto), ASCII name, zeros up to 21 bytes. */
function feedId(name) {
  const bytes = new Uint8Array(21);
  bytes[0] = 1;
  bytes.set(toUtf8Bytes(name), 1);
  return hexlify(bytes);
}

function leaf(name, expo, mantissa, half_width, sources) {
  const word = concat([toBeHex(BigInt(mantissa), 8), toBeHex(half_width, 2), toBeHex(sources, 2)]);
  const feed = feedId(name);
  const bytes = concat([feed, toBeHex(BigInt.asUintN(8, BigInt(expo)), 1), word]);
  return { feed, expo, word, hash: keccak256(bytes), proof: [] };
}

const node = (a, b) => keccak256(BigInt(a) < BigInt(b) ? concat([a, b]) : concat([b, a]));

/** Joins neighbours level by level; a last one without a neighbour moves up as it is. Fills in the leaves' proofs. */
function rootOf(leaves) {
  let level = leaves.map((l) => ({ hash: l.hash, below: [l] }));
  while (level.length > 1) {
    const next = [];
    for (let i = 0; i < level.length; i += 2) {
      const [left, right] = [level[i], level[i + 1]];
      if (right === undefined) {
        next.push(left);
        continue;
      }
      left.below.forEach((l) => l.proof.push(right.hash));
      right.below.forEach((l) => l.proof.push(left.hash));
      next.push({ hash: node(left.hash, right.hash), below: [...left.below, ...right.below] });
    }
    level = next;
  }
  return level[0].hash;
}

function vector(label, { network, epoch, slot, leaves }) {
  const network_id = id(network);
  const key = new SigningKey(id(`concurrence test key: ${label}`));
  for (let i = 1; i < leaves.length; i++) {
    if (!(leaves[i - 1].feed < leaves[i].feed)) throw new Error(`${label}: feeds must strictly ascend`);
  }
  const root = rootOf(leaves);
  const domain = { name: "Concurrence", version: "0", salt: network_id };
  const message = { epoch, slot, root };
  const digest = TypedDataEncoder.hash(domain, TYPES, message);
  const signature = key.sign(digest);
  const address = computeAddress(key.publicKey);
  if (recoverAddress(digest, signature) !== address) throw new Error(`${label}: does not recover`);
  return {
    label,
    network_id,
    epoch,
    slot,
    leaves,
    root,
    struct_hash: TypedDataEncoder.hashStruct("PriceReport", TYPES, message),
    digest,
    private_key: key.privateKey,
    address: address.toLowerCase(),
    signature: signature.compactSerialized,
  };
}

const many = Array.from({ length: 13 }, (_, i) => leaf(`F${String(i).padStart(2, "0")}/USD`, -8, 10n ** BigInt(i) + 7n, 3 * i, 1 + ((i * 37) % 255)));
const vectors = [
  vector("one feed", { network: "devnet", epoch: 0, slot: 1_678_500_000, leaves: [leaf("BTC/USD", -8, 2_042_117_000_000n, 12, 7)] }),
  vector("three feeds, at the type's limits", {
    network: "limits",
    epoch: 0xffffffff,
    slot: 2 ** 40 - 1,
    leaves: [leaf("BTC/JPY", 0, 1n, 0, 0), leaf("BTC/USD", -18, (1n << 63n) - 2n, 0xffff, 0xffff), leaf("ETH/USD", -8, 151_234_567_890n, 40, 5)],
  }),
  vector("thirteen feeds", { network: "devnet", epoch: 3, slot: 1_678_500_005, leaves: many }),
];

const text = JSON.stringify(vectors, null, 2) + "\n";
if (process.argv.includes("--check")) {
  if (readFileSync(FILE, "utf8") !== text) {
    console.error("vectors/eip712_price_report.json is not what script/report-vectors.mjs writes");
    process.exit(1);
  }
} else {
  writeFileSync(FILE, text);
}
console.log(`${vectors.length} vectors of the signed report`);
