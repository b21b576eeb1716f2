// Takes the checks out of the contracts one at a time and runs the tests: every mutant must be caught.
// By hand, after a change of a contract and `forge build` (half a minute a mutant):  node script/mutants.mjs [part of a name]
//   node script/mutants.mjs --check    only says whether every text to be replaced is still there, once
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/**
 * By file: [what is taken out, text found once, text in its place]
 * Not here, as nothing observable depends on it: that the payload is no shorter than its header, as then no entry can be named as median.
 */
const MUTANTS = {
  "AttestationVerifier.sol": [
    ["known group", "if lt(index, byte(30, set)) {", "if 1 {"],
    ["whole entries", "(msg.data.length - entries) % entrySize != 0", "false"],
    ["maximum age", "if (block.timestamp - time > MAX_AGE) _refuseTime", "if (block.timestamp < time) _refuseTime"],
    ["maximum age, by one", "if (block.timestamp - time > MAX_AGE) _refuseTime", "if (block.timestamp - time >= MAX_AGE) _refuseTime"],
    ["time ahead", "if (block.timestamp - time > MAX_AGE) _refuseTime", "if (time + MAX_AGE < block.timestamp) _refuseTime"],
    ["ascending signers", "or(lt(head, next), or(gt(s, HALF_ORDER),", "or(0, or(gt(s, HALF_ORDER),"],
    ["ascending signers, by one", "next := add(or(head, 0xff), 1)", "next := and(head, 0xff00)"],
    ["low s", "or(gt(s, HALF_ORDER), xor", "or(0, xor"],
    ["low s, by one", "gt(s, HALF_ORDER), xor", "gt(s, add(HALF_ORDER, 1)), xor"],
    ["signature", "xor(mload(DIGEST_AT), shr(96, row))", "0"],
    ["network in the digest", "mstore(DOMAIN_AT, domain)", ""],
    ["epoch in the digest", "mstore(EPOCH_AT, and(shr(56, set), 0xffffffff))", ""],
    ["feeds in the digest", "mstore(FEEDS_AT, feeds)", ""],
    ["words in the digest", "mstore(WORDS_HASH_AT, keccak256(WORDS_AT, sub(size, ENTRY_HEAD)))", ""],
    ["slot in the digest", "mstore(SLOT_AT, add(time, lag))", "mstore(SLOT_AT, time)"],
    ["window and future", "if (lags >> span != 0 || lags & 1 == 0)", "if (lags & 1 == 0)"],
    ["oldest slot", "if (lags >> span != 0 || lags & 1 == 0)", "if (lags >> span != 0)"],
    ["future bound", "return time + WINDOW <= end ? WINDOW : end - time;", "return WINDOW;"],
    ["future bound, by one", "uint256 end = block.timestamp + MAX_AHEAD + 1;", "uint256 end = block.timestamp + MAX_AHEAD + 2;"],
    ["first two feeds", "if (!_agrees(tally, union, counted, lone)) _refuseFeeds(feedCount, entries, 0, lone ? 1 : 2, counted);", ""],
    ["other feeds", "if (!_agrees(tally, union, counted, lone)) _refuseFeeds(feedCount, entries, feed, feed + (lone ? 1 : 2), counted);", ""],
    ["a single feed", "if (!_agrees(tally, union, counted, true)) _refuseFeeds(feedCount, entries, feed, feed + 1, counted);", ""],
    ["medians", "guards), BELOW_GUARDS)", "guards), and(sub(add(guards, mul(FIELDS, sub(counted, 1))), shl(48, shr(47, tally))), guards))"],
    ["medians, by one", "mul(FIELDS, sub(counted, 1))", "mul(FIELDS, counted)"],
    ["doubtful prices", "agrees := and(agrees, iszero(and(union, FLAGS)))", ""],
    ["sources", "agrees := and(agrees, eq(union, shl(5, LANES)))", ""],
    ["sources of the upper lane", "if (!lone) required = required * LANES;", ""],
    ["position", "if (offset >= msg.data.length)", "if (false)"],
    ["price of zero", "if (mantissa - 1 >= MAX_MANTISSA - 1)", "if (mantissa == MAX_MANTISSA)"],
    ["greatest price", "if (mantissa - 1 >= MAX_MANTISSA - 1)", "if (mantissa == 0)"],
    ["weights", "let weight := and(shr(64, row), 0xffffffff)", "let weight := 1"],
    ["weights of later feeds", "shr(48, and(sub(below, words), FLAGS))), mload(weightAt))", "shr(48, and(sub(below, words), FLAGS))), 1)"],
    ["place of a single feed", "mstore(FIRST_AT, add(WORDS_AT, mul(WORD, feed)))", ""],
    ["feed beyond the group", "if (feed >= feedCount)", "if (false)"],
    ["governor", "if (msg.sender != registry.owner())", "if (false)"],
    ["ascending feeds", "_feedAt(feeds, feed - 1) >= _feedAt(feeds, feed)", "_feedAt(feeds, feed - 1) > _feedAt(feeds, feed)"],
    ["exponents", "if (exponent < EXPONENT_MIN || exponent > 0)", "if (false)"],
    ["feeds a group", "|| count > MAX_FEEDS", ""],
  ],
  "SignerSets.sol": [
    ["newer epoch", "epoch <= old.epoch", "epoch < old.epoch"],
    ["epochs that were passed over", "epoch == old.epoch + 1 ? sealedAt + registry.overlap() : 0", "sealedAt + registry.overlap()"],
    ["end of the overlap", "if (block.timestamp > previousUntil)", "if (false)"],
    ["end of the overlap, by one", "if (block.timestamp > previousUntil)", "if (block.timestamp >= previousUntil)"],
  ],
  "FeedStore.sol": [
    ["monotone time", "if iszero(gt(time, and(price, 0xffffffffff))) {", "if lt(time, and(price, 0xffffffffff)) {"],
    ["slots of feeds", "let slot := or(and(row, FEED_MASK), SLOT_TAG)", "let slot := and(row, FEED_MASK)"],
  ],
  "FileRegistry.sol": [
    ["signer twice in the registry", "if (isRepeated ||", "if ("],
    ["time between epochs", "if (block.timestamp < earliest)", "if (false)"],
  ],
  "ReportFeeds.sol": [
    ["report: a third", "if (3 * counted <= total)", "if (3 * counted < total)"],
    ["report: monotone slot", "if (slot <= uint40(s_stamp))", "if (slot < uint40(s_stamp))"],
    ["report: ascending signers", "or(lt(index, next), or(gt(s, HALF_ORDER),", "or(0, or(gt(s, HALF_ORDER),"],
    ["report: low s", "or(gt(s, HALF_ORDER), xor", "or(0, xor"],
    ["report: signature", "xor(mload(V_AT), shr(96, row))", "0"],
    ["report: proof", "if (computed != root)", "if (false)"],
    ["report: age of what is proven", "if (slot + MAX_AGE < block.timestamp) revert Stale(slot, block.timestamp - MAX_AGE);\n        bytes32 computed", "bytes32 computed"],
    ["report: ahead", "if (block.timestamp - slot > MAX_AGE) _refuseTime", "if (slot + MAX_AGE < block.timestamp) _refuseTime"],
    ["report: age", "if (block.timestamp - slot > MAX_AGE) _refuseTime", "if (block.timestamp < slot) _refuseTime"],
    ["report: no price", "if (mantissa == 0 || mantissa >= type(uint64).max >> 1)", "if (false)"],
  ],
  "MerkleProof.sol": [["proof's length", "if (proof.length > DEPTH_MAX)", "if (false)"]],
  "OracleRegistry.sol": [
    ["registry: consent", "if (recovered != signer || signer == address(0))", "if (false)"],
    ["registry: signer twice", "if (operatorOf[signer] != address(0))", "if (false)"],
    ["registry: author twice", "if (s_authors[author] != address(0))", "if (false)"],
    ["registry: cap from above", "3 * cap < sums.sum && 3 * (cap + 1) >= sums.above", "3 * cap < sums.sum"],
    ["registry: cap from below", "3 * cap < sums.sum && 3 * (cap + 1) >= sums.above", "3 * (cap + 1) >= sums.above"],
    ["registry: order of members", "if (i != 0 && author <= before)", "if (i != 0 && author < before)"],
    ["registry: all members", "if (operators.length != admitted)", "if (false)"],
    ["registry: exit delay", "if (block.timestamp < earliest) revert TooSoon(block.timestamp, earliest);\n        }\n        uint256 stake", "}\n        uint256 stake"],
    ["registry: one oracle's signatures", "operator == address(0) || operator != operatorOf[signerB]", "operator == address(0)"],
    ["registry: two prices", "if (feed != other || isSame)", "if (feed != other)"],
    ["registry: one feed", "if (feed != other || isSame)", "if (isSame)"],
    ["registry: slashed once", "if (oracle.state == State.Slashed || oracle.stake < stakeMin)", "if (false)"],
  ],
  "Aggregator.sol": [
    ["aggregator: feed", "if (bytes21(bytes32(row)) != feed ||", "if ("],
    ["aggregator: decimals", "|| uint8(-int8(uint8(row >> 80))) != decimals", ""],
    ["aggregator: monotone time", "if (time <= uint40(last))", "if (time < uint40(last))"],
    ["aggregator: range", "if (answer < minAnswer || answer > maxAnswer)", "if (answer < minAnswer)"],
    ["aggregator: due", "!_isDue(last, answer, time) && !isTransmitter[msg.sender]", "false"],
    ["aggregator: heartbeat by one", "if (time >= uint40(last) + uint32(last >> 136)) return true;", "if (time > uint40(last) + uint32(last >> 136)) return true;"],
  ],
  "AggregatorProxy.sol": [
    ["proxy: decimals", "if (old.decimals() != proposed.decimals())", "if (false)"],
    ["proxy: level", "if (Deviation.deviates(before, fresh, CONFIRM_DEVIATION_PPB))", "if (false)"],
    ["proxy: access", "if (s_current.isChecked)", "if (false)"],
    ["proxy: access to the newest", "if (current >> 176 != 0)", "if (false)"],
  ],
  "Deviation.sol": [["deviation from zero", "if (old == 0) return fresh != 0;", "if (old == 0) return true;"]],
};

const wanted = process.argv.slice(2).find((word) => !word.startsWith("--")) ?? "";
const all = Object.entries(MUTANTS).flatMap(([file, list]) => list.map((mutant) => [file, ...mutant]));
for (const [file, name, found] of all) {
  if (readFileSync(join(ROOT, "src", file), "utf8").split(found).length !== 2) throw new Error(`${name}: the text must occur once: ${found}`);
}
if (process.argv.includes("--check")) {
  console.log(`${all.length} mutants, every text is there once`);
  process.exit(0);
}

const mutants = all.filter(([, name]) => name.includes(wanted));
const dir = mkdtempSync(join(tmpdir(), "mutants-"));
const contracts = join(dir, "contracts");
const forge = join(ROOT, "node_modules/@foundry-rs/forge-linux-amd64/bin/forge");
const skipped = new Set(["node_modules", "snapshots", "Gas.t.sol"]);
let survivors = 0;
try {
  cpSync(ROOT, contracts, { recursive: true, filter: (path) => !skipped.has(path.replace(/\/$/, "").split("/").pop()) });
  cpSync(join(ROOT, "../vectors"), join(dir, "vectors"), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(contracts, "node_modules"));
  // The tests do not change: linked at run time, they are compiled once.
  const test = () => spawnSync(forge, ["test", "--no-match-contract", "Differential"], { cwd: contracts, encoding: "utf8" });
  const control = test();
  if (control.status !== 0) throw new Error(`the unchanged contract fails:\n${control.stdout}${control.stderr}`);
  for (const [file, name, found, replacement] of mutants) {
    const path = join(contracts, "src", file);
    const source = readFileSync(path, "utf8");
    writeFileSync(path, source.replace(found, () => replacement));
    const run = test();
    writeFileSync(path, source);
    const failed = /Encountered a total of (\d+) failing tests/.exec(run.stdout)?.[1];
    if (run.status === 0) survivors++;
    else if (failed === undefined) throw new Error(`${name}: does not build:\n${run.stdout}${run.stderr}`);
    console.log(`${run.status === 0 ? "SURVIVED" : "caught  "}  ${name}${failed ? ` (${failed} tests)` : ""}`);
  }
} finally {
  rmSync(dir, { recursive: true });
}
console.log(`${mutants.length} mutants, ${survivors} survived`);
process.exit(survivors === 0 ? 0 : 1);
