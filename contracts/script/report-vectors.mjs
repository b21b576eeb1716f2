// Writes vectors/eip712_price_report.json, the golden vectors of signed reports: leaves, tree, proofs, digest, signature.
// contracts/docs/report.md is the definition.
//   node script/report-vectors.mjs            write the file
//   node script/report-vectors.mjs --check    exit 1 unless the file is what this script would write
import { concat, keccak256 } from "ethers";
import { feedBytes, feedId, mustAscend, signed, word, write } from "./signed.mjs";

const TYPES = {
  PriceReport: [
    { name: "epoch", type: "uint32" },
    { name: "slot", type: "uint64" },
    { name: "root", type: "bytes32" },
  ],
};

function leaf(name, expo, mantissa, half_width, sources) {
  const price = word({ mantissa, half_width, sources });
  const feed = feedId(name);
  return { feed, expo, word: price, hash: keccak256(concat([feedBytes(feed, expo), price])), proof: [] };
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
  mustAscend(label, leaves);
  const root = rootOf(leaves);
  const { network_id, struct_hash, digest, private_key, address, signature } = signed(label, network, "PriceReport", TYPES, { epoch, slot, root });
  return { label, network_id, epoch, slot, leaves, root, struct_hash, digest, private_key, address, signature };
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

write("eip712_price_report.json", "report-vectors.mjs", "the signed report", vectors);
