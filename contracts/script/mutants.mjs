// Takes the checks out of AttestationVerifierSketch one at a time and runs its tests: every mutant must be caught.
// By hand, after a change of the contract (a few minutes):  node script/mutants.mjs
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const CONTRACT = "src/AttestationVerifierSketch.sol";

/**
 * [what is taken out, text found once, text in its place]
 * Not here, as nothing observable depends on it: that the payload is no shorter than its header, as then no entry can be named as median.
 */
const MUTANTS = [
  ["monotone time", "if (time <= storedTime)", "if (time < storedTime)"],
  ["known group", "if (group >= groups)", "if (group > groups)"],
  ["whole entries", "(msg.data.length - entries) % entrySize != 0", "false"],
  ["maximum age", "if (time + MAX_AGE < block.timestamp)", "if (false)"],
  ["maximum age, by one", "if (time + MAX_AGE < block.timestamp)", "if (time + MAX_AGE <= block.timestamp)"],
  ["ascending signers", "or(lt(head, next), or(gt(s, HALF_ORDER),", "or(0, or(gt(s, HALF_ORDER),"],
  ["ascending signers, by one", "next := add(or(head, 0xff), 1)", "next := and(head, 0xff00)"],
  ["low s", "or(gt(s, HALF_ORDER), xor", "or(0, xor"],
  ["low s, by one", "gt(s, HALF_ORDER), xor", "gt(s, add(HALF_ORDER, 1)), xor"],
  ["signature", "xor(mload(DIGEST_AT), shr(96, row))", "0"],
  ["network in the digest", "mstore(DOMAIN_AT, domain)", ""],
  ["epoch in the digest", "mstore(EPOCH_AT, epoch)", ""],
  ["feeds in the digest", "mstore(FEEDS_AT, feeds)", ""],
  ["words in the digest", "mstore(WORDS_HASH_AT, keccak256(WORDS_AT, sub(size, ENTRY_HEAD)))", ""],
  ["slot in the digest", "mstore(SLOT_AT, add(time, lag))", "mstore(SLOT_AT, time)"],
  ["window and future", "if (lags >> span != 0 || lags & 1 == 0)", "if (lags & 1 == 0)"],
  ["oldest slot", "if (lags >> span != 0 || lags & 1 == 0)", "if (lags >> span != 0)"],
  ["future bound", "return time < end ? end - time : 0;", "return WINDOW;"],
  ["future bound, by one", "uint256 end = block.timestamp + MAX_AHEAD + 1;", "uint256 end = block.timestamp + MAX_AHEAD + 2;"],
  ["quorum", "if (3 * counted <= 2 * total)", "if (false)"],
  ["quorum, by one", "if (3 * counted <= 2 * total)", "if (3 * counted < 2 * total)"],
  ["first two feeds", "if (!_agrees(tally, union, counted, lone)) _refuseFeeds(feedCount, 0, lone ? 1 : 2, counted);", ""],
  ["other feeds", "if (!_agrees(tally, union, counted, lone)) _refuseFeeds(feedCount, feed, feed + (lone ? 1 : 2), counted);", ""],
  ["medians", "guards), BELOW_GUARDS)", "guards), and(sub(add(guards, mul(FIELDS, sub(counted, 1))), shl(48, shr(47, tally))), guards))"],
  ["medians, by one", "mul(FIELDS, sub(counted, 1))", "mul(FIELDS, counted)"],
  ["doubtful prices", "agrees := and(agrees, iszero(and(union, FLAGS)))", ""],
  ["sources", "agrees := and(agrees, eq(union, shl(5, LANES)))", ""],
  ["sources of the upper lane", "if (!lone) required = required * LANES;", ""],
  ["position", "if (offset >= msg.data.length)", "if (false)"],
  ["price of zero", "if (mantissa == 0)", "if (false)"],
  ["weights", "let weight := and(shr(64, row), 0xffffffff)", "let weight := 1"],
  ["weights of later feeds", "shr(48, and(sub(below, words), FLAGS))), mload(weightAt))", "shr(48, and(sub(below, words), FLAGS))), 1)"],
  ["owner", "if (msg.sender != owner)", "if (false)"],
  ["newer epoch", "epoch <= current.epoch", "epoch < current.epoch"],
  ["signer twice in the registry", "if (repeated ||", "if ("],
  ["ascending feeds", ">= bytes21(feeds[i:i + 21])", "> bytes21(feeds[i:i + 21])"],
  ["feeds a group", "|| count > MAX_FEEDS", ""],
];

const dir = mkdtempSync(join(tmpdir(), "mutants-"));
const contracts = join(dir, "contracts");
const forge = join(ROOT, "node_modules/@foundry-rs/forge-linux-amd64/bin/forge");
const skipped = new Set(["node_modules", "out", "cache", "snapshots", "AttestationVerifierSketch.gas.t.sol"]);
let survivors = 0;
try {
  cpSync(ROOT, contracts, { recursive: true, filter: (path) => !skipped.has(path.replace(/\/$/, "").split("/").pop()) });
  cpSync(join(ROOT, "../vectors"), join(dir, "vectors"), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(contracts, "node_modules"));
  const source = readFileSync(join(contracts, CONTRACT), "utf8");
  // The tests do not change: linked at run time, they are compiled once.
  const test = () => spawnSync(forge, ["test", "--dynamic-test-linking"], { cwd: contracts, encoding: "utf8" });
  const control = test();
  if (control.status !== 0) throw new Error(`the unchanged contract fails:\n${control.stdout}${control.stderr}`);
  for (const [name, found, replacement] of MUTANTS) {
    if (source.split(found).length !== 2) throw new Error(`${name}: the text must occur once: ${found}`);
    writeFileSync(join(contracts, CONTRACT), source.replace(found, () => replacement));
    const run = test();
    const failed = /Encountered a total of (\d+) failing tests/.exec(run.stdout)?.[1];
    if (run.status === 0) survivors++;
    else if (failed === undefined) throw new Error(`${name}: does not build:\n${run.stdout}${run.stderr}`);
    console.log(`${run.status === 0 ? "SURVIVED" : "caught  "}  ${name}${failed ? ` (${failed} tests)` : ""}`);
  }
} finally {
  rmSync(dir, { recursive: true });
}
console.log(`${MUTANTS.length} mutants, ${survivors} survived`);
process.exit(survivors === 0 ? 0 : 1);
