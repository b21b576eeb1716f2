// Writes vectors/eip712_price_group.json, the golden vectors of the signed price group.
// EIP-712 hashing and RFC 6979 signing are ethers', so that neither our Rust nor our Solidity vouches for itself.
//   node script/price-group-vectors.mjs            write the file
//   node script/price-group-vectors.mjs --check    exit 1 unless the file is what this script would write
import { readFileSync, writeFileSync } from "node:fs";
import { SigningKey, TypedDataEncoder, computeAddress, concat, getBytes, hexlify, id, keccak256, recoverAddress, toBeHex, toUtf8Bytes } from "ethers";

const FILE = new URL("../../vectors/eip712_price_group.json", import.meta.url);
const TYPES = {
  PriceGroup: [
    { name: "epoch", type: "uint32" },
    { name: "slot", type: "uint64" },
    { name: "feeds", type: "bytes32" },
    { name: "words", type: "bytes" },
  ],
};
const MAX_MANTISSA = (1n << 63n) - 1n;
const DOUBTFUL = 1n << 63n;

/** Feed of the FTSOv2 form: category 01 (crypto), ASCII name, zeros up to 21 bytes. */
function feedId(name) {
  const bytes = new Uint8Array(21);
  bytes[0] = 1;
  bytes.set(toUtf8Bytes(name), 1);
  return hexlify(bytes);
}

function price(name, expo, mantissa, half_width = 12, sources = 7, doubtful = false) {
  return { feed: feedId(name), expo, mantissa: BigInt(mantissa).toString(), doubtful, half_width, sources };
}

/** Ten or more quotes of different sizes; names in ascending order. */
function basket(names, expo) {
  return names.map((name, i) => price(name, expo, 1_234_567_891n * 4n ** BigInt(i), 3 + 41 * i, 1 + ((i * 37) % 255)));
}

function vector(label, { network, epoch, slot, feeds }) {
  const network_id = id(network);
  const key = new SigningKey(id(`concurrence test key: ${label}`));
  for (let i = 1; i < feeds.length; i++) {
    if (!(feeds[i - 1].feed < feeds[i].feed)) throw new Error(`${label}: feeds must strictly ascend`);
  }
  const feeds_hash = keccak256(concat(feeds.map((f) => concat([f.feed, toBeHex(BigInt.asUintN(8, BigInt(f.expo)), 1)]))));
  const words = concat(
    feeds.map((f) =>
      concat([toBeHex(BigInt(f.mantissa) | (f.doubtful ? DOUBTFUL : 0n), 8), toBeHex(f.half_width, 2), toBeHex(f.sources, 2)]),
    ),
  );
  const domain = { name: "Concurrence", version: "0", salt: network_id };
  const message = { epoch, slot, feeds: feeds_hash, words };
  const digest = TypedDataEncoder.hash(domain, TYPES, message);
  const signature = key.sign(digest);
  const address = computeAddress(key.publicKey);
  if (recoverAddress(digest, signature) !== address) throw new Error(`${label}: does not recover`);
  return {
    label,
    network_id,
    epoch,
    slot,
    feeds,
    private_key: key.privateKey,
    address: address.toLowerCase(),
    feeds_hash,
    words,
    struct_hash: TypedDataEncoder.hashStruct("PriceGroup", TYPES, message),
    digest,
    signature: signature.compactSerialized,
  };
}

const TEN = ["ADA/USD", "BTC/USD", "DOGE/USD", "DOT/USD", "ETH/USD", "LINK/USD", "LTC/USD", "SOL/USD", "USDC/USD", "XRP/USD"];
const SIXTEEN = ["AAVE/USD", ...TEN.slice(0, 1), "ALGO/USD", "ATOM/USD", "BCH/USD", ...TEN.slice(1, 7), "MKR/USD", "SOL/USD", "UNI/USD", "USDC/USD", "XRP/USD"];

const vectors = [
  vector("one feed, expo -8", { network: "devnet", epoch: 0, slot: 1_678_500_000, feeds: [price("BTC/USD", -8, 2_042_117_000_000n)] }),
  vector("one feed, expo -18, at the type's limits", {
    network: "limits",
    epoch: 0xffffffff,
    slot: Number.MAX_SAFE_INTEGER,
    feeds: [price("ETH/USD", -18, MAX_MANTISSA, 0xffff, 0xffff, true)],
  }),
  vector("one feed, expo 0, at the least values", { network: "limits", epoch: 0, slot: 0, feeds: [price("BTC/JPY", 0, 1n, 0, 0)] }),
  vector("ten feeds, expo -8", { network: "devnet", epoch: 3, slot: 1_678_500_005, feeds: basket(TEN, -8) }),
  vector("sixteen feeds, expo -18", { network: "mainnet", epoch: 41, slot: 1_900_000_001, feeds: basket(SIXTEEN, -18) }),
  vector("three feeds, expo -18, 0 and 8, the middle one doubtful", {
    network: "mainnet",
    epoch: 42,
    slot: 1_900_000_002,
    feeds: [price("BTC/USD", -18, 1n), price("ETH/USD", 0, 1_512n, 250, 0x8001, true), price("XAU/IDR", 8, 1_234n, 7, 2)],
  }),
];

const text = JSON.stringify(vectors, null, 2) + "\n";
if (process.argv.includes("--check")) {
  if (readFileSync(FILE, "utf8") !== text) {
    console.error("vectors/eip712_price_group.json is not what script/price-group-vectors.mjs writes");
    process.exit(1);
  }
} else {
  writeFileSync(FILE, text);
}
console.log(`${vectors.length} vectors of the signed price group`);
