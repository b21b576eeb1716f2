// Writes vectors/eip712_price_group.json, the golden vectors of the signed price group.
//   node script/price-group-vectors.mjs            write the file
//   node script/price-group-vectors.mjs --check    exit 1 unless the file is what this script would write
import { concat, keccak256 } from "ethers";
import { feedBytes, feedId, mustAscend, signed, word, write } from "./signed.mjs";

const TYPES = {
  PriceGroup: [
    { name: "epoch", type: "uint32" },
    { name: "slot", type: "uint64" },
    { name: "feeds", type: "bytes32" },
    { name: "words", type: "bytes" },
  ],
};
const MAX_MANTISSA = (1n << 63n) - 1n;

function price(name, expo, mantissa, half_width = 12, sources = 7, doubtful = false) {
  return { feed: feedId(name), expo, mantissa: BigInt(mantissa).toString(), doubtful, half_width, sources };
}

/** Ten or more quotes of different sizes; names in ascending order. */
function basket(names, expo) {
  return names.map((name, i) => price(name, expo, 1_234_567_891n * 4n ** BigInt(i), 3 + 41 * i, 1 + ((i * 37) % 255)));
}

function vector(label, { network, epoch, slot, feeds }) {
  mustAscend(label, feeds);
  const feeds_hash = keccak256(concat(feeds.map((f) => feedBytes(f.feed, f.expo))));
  const words = concat(feeds.map(word));
  const message = { epoch, slot, feeds: feeds_hash, words };
  const { network_id, private_key, address, struct_hash, digest, signature } = signed(label, network, "PriceGroup", TYPES, message);
  return { label, network_id, epoch, slot, feeds, private_key, address, feeds_hash, words, struct_hash, digest, signature };
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

write("eip712_price_group.json", "price-group-vectors.mjs", "the signed price group", vectors);
