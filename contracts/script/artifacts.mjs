// Writes what others need of the contracts that are deployed, out of what `forge build` left in out/:
//   artifacts/NAME.json        interface and creation code, for the node's bindings
//   snapshots/layouts.json     where each keeps what: a variable that moves breaks whoever is behind a proxy
//   node script/artifacts.mjs            write the files
//   node script/artifacts.mjs --check    exit 1 unless the files are what this script would write
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";

const DEPLOYED = ["AccessController", "Aggregator", "AggregatorProxy", "Api3Reader", "FileRegistry", "FtsoReader", "GroupedFeeds", "OracleRegistry", "PriceFeeds", "PythFacade", "ReportFeeds"];
const ROOT = new URL("../", import.meta.url);

const built = (name) => JSON.parse(readFileSync(new URL(`out/${name}.sol/${name}.json`, ROOT), "utf8"));

/** Slot, byte in it, name and type of each variable, and of the members of structures that are one. */
function layout({ storageLayout }) {
  const rows = (variables, base, prefix) =>
    variables.flatMap(({ label, slot, offset, type }) => {
      const { label: shown, members } = storageLayout.types[type];
      const at = base + Number(slot);
      return [`${at}.${offset} ${prefix}${label}: ${shown}`, ...(members ? rows(members, at, `${prefix}${label}.`) : [])];
    });
  return rows(storageLayout.storage, 0, "");
}

const files = new Map();
const layouts = {};
for (const name of DEPLOYED) {
  const artifact = built(name);
  files.set(`artifacts/${name}.json`, { abi: artifact.abi, bytecode: artifact.bytecode.object });
  layouts[name] = layout(artifact);
}
files.set("snapshots/layouts.json", layouts);

mkdirSync(new URL("artifacts/", ROOT), { recursive: true });
let stale = readdirSync(new URL("artifacts/", ROOT)).map((name) => `artifacts/${name}`).filter((name) => !files.has(name));
for (const [name, value] of files) {
  const text = JSON.stringify(value, null, 1) + "\n";
  const path = new URL(name, ROOT);
  if (!process.argv.includes("--check")) writeFileSync(path, text);
  else if (!readdirSync(new URL(".", path)).includes(name.split("/").pop()) || readFileSync(path, "utf8") !== text) stale.push(name);
}
if (stale.length !== 0) {
  console.error(`not what script/artifacts.mjs writes: ${stale.join(", ")}`);
  process.exit(1);
}
console.log(`${DEPLOYED.length} contracts' interfaces, code and storage layouts`);
