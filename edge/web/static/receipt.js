// Checks a receipt in the browser, with the formats of docs/ledger.md: nothing but the published seals is taken from the server.
import { t } from "./i18n.js";

const USAGE = { model: 0, status: 2, credits_charged: 10, of_it_overage: 11, not_charged: 12, request_sha256: 14 };
const TOKENS = { input: 3, cached_input: 4, cache_write: 5, output: 6, reasoning: 7, estimated: 8 };

const fromHex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const fromBase64 = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const utf8 = (text) => new TextEncoder().encode(text);
const sha = async (...parts) => new Uint8Array(await crypto.subtle.digest("SHA-256", await new Blob(parts).arrayBuffer()));

function padded(text, size) {
  const bytes = new Uint8Array(size);
  bytes.set(utf8(text));
  return bytes;
}

function int64(number) {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigInt64(0, BigInt(number));
  return view.buffer;
}

// The signed bytes: sorted keys, no spaces. All values are numbers, null, or ASCII strings.
const canonical = (statement) => utf8(JSON.stringify(statement, Object.keys(statement).sort()));
const idBytes = (id) => fromHex(id.replaceAll("-", ""));
const leafHash = (...data) => sha(Uint8Array.of(0), ...data);

async function climb(hash, path) {
  for (const [side, sibling] of path) {
    const other = fromHex(sibling);
    hash = side === "left" ? await sha(Uint8Array.of(1), other, hash) : await sha(Uint8Array.of(1), hash, other);
  }
  return hash;
}

async function hashOf(entry, previous) {
  const { account, seq, kind, amount, balance_after, plan_amount, created_at, commitment } = entry;
  return sha(
    padded("yout ledger v1", 16), fromHex(previous), idBytes(account), int64(seq), padded(kind, 16),
    ...[amount, balance_after, plan_amount, created_at].map(int64), fromHex(commitment),
  );
}

// The names of the fields and headers sent are those whose hash the entry has. They are null if they were never stored.
async function isNamed(shape, id) {
  if (!shape) return true;
  const { fields, headers, other_fields } = shape;
  return shape.id === id && toHex((await sha(utf8(JSON.stringify({ fields, headers, other_fields }))))).slice(0, 32) === id;
}

async function isSigned(seal, pem) {
  const der = fromBase64(pem.replace(/-----[^-]+-----|\s/g, ""));
  const key = await crypto.subtle.importKey("spki", der, { name: "Ed25519" }, false, ["verify"]);
  return crypto.subtle.verify({ name: "Ed25519" }, key, fromBase64(seal.signature), canonical(seal.head));
}

// Yields what was checked, and whether it holds.
export async function* checkReceipt(receipt, heads) {
  const { entry, previous, leaf, entries_path, leaves_path, seal } = receipt.proof;
  const { usage } = entry;
  const says = Object.entries(USAGE).every(([name, place]) => receipt[name] === usage[place])
    && Object.entries(TOKENS).every(([name, place]) => receipt.tokens[name] === usage[place])
    && receipt.request_id.endsWith(entry.call.replaceAll("-", ""))
    && usage[10] - usage[11] === -entry.amount
    && await isNamed(receipt.request_shape, usage[15]);
  const details = utf8(JSON.stringify([entry.actor, entry.reason, entry.call, usage]));
  const committed = toHex(await sha(fromHex(entry.salt), details)) === entry.commitment;
  yield [t("The charge and the token counts match the ledger entry."), says && committed];
  const hash = await hashOf(entry, previous);
  yield [t("The hash covers the entry and the one before it."), toHex(hash) === entry.hash && entry.hash === receipt.entry_hash];
  if (seal === null) return;
  const root = await climb(await leafHash(hash), entries_path);
  const sealed = await leafHash(idBytes(entry.account), int64(leaf.first_seq), int64(leaf.seq), fromHex(leaf.head), root);
  const inSeal = toHex(root) === leaf.root && toHex(await climb(sealed, leaves_path)) === seal.head.root;
  yield [t("The entry is in seal {number}.", { number: seal.head.number }), inSeal];
  const published = heads.heads.find(({ head }) => head.number === seal.head.number);
  yield [t("The seal matches the published one."), published !== undefined && published.signature === seal.signature];
  let signed;
  try {
    signed = await isSigned(seal, heads.keys[seal.key_id]);
  } catch { // browsers before 2025 lack Ed25519
    yield [t("This browser cannot check the signature. Use `yout receipt verify`."), null];
    return;
  }
  yield [t("The signature of the seal is valid."), signed];
}

async function run(section) {
  const list = section.querySelector("ul"), summary = section.querySelector("[role=status]");
  list.replaceChildren();
  let good = true;
  try {
    const receipt = await (await fetch(section.dataset.receipt)).json();
    const number = receipt.proof.seal?.head.number ?? 0;
    const heads = await (await fetch(`/.well-known/yout-ledger-heads.json?since=${number}`)).json();
    for await (const [text, holds] of checkReceipt(receipt, heads)) {
      const item = document.createElement("li");
      item.textContent = `${holds === null ? "–" : holds ? "✓" : "✗"} ${text}`;
      list.append(item);
      good &&= holds !== false;
    }
  } catch {
    good = false;
  }
  summary.textContent = good ? t("This receipt is valid.") : t("This receipt is NOT valid.");
}

const section = document.querySelector("#proof");
section?.querySelector("button")?.addEventListener("click", () => run(section));
