// The telephone of somebody who scanned the code: RFC 6238 over RFC 4226, SHA-1, six digits, half a minute.
import { createHmac } from "node:crypto";

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const STEP_S = 30;

function bytes(base32) {
  const found = [];
  let [bits, count] = [0, 0];
  for (const letter of base32.replaceAll(" ", "")) {
    bits = ((bits << 5) | ALPHABET.indexOf(letter)) & 0xfff;
    count += 5;
    if (count < 8) continue;
    count -= 8;
    found.push((bits >> count) & 0xff);
  }
  return Buffer.from(found);
}

export function codeOf(secret, step) {
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(step));
  const mac = createHmac("sha1", bytes(secret)).update(counter).digest();
  const at = mac.at(-1) & 0xf;
  const number = mac.readUInt32BE(at) & 0x7fffffff;
  return String(number % 1_000_000).padStart(6, "0");
}

export class Telephone {
  #secret;
  #last = 0;

  constructor(secret) {
    this.#secret = secret;
  }

  /** A code that was not given before. The desk takes those of the next half minute too: a telephone's clock may be ahead. */
  async code() {
    const now = () => Math.floor(Date.now() / 1000 / STEP_S);
    while (this.#last > now())
      await new Promise((resolve) => setTimeout(resolve, 500));
    this.#last = Math.max(now(), this.#last + 1);
    return codeOf(this.#secret, this.#last);
  }
}

if (codeOf("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", 1) !== "287082")
  throw new Error("not the code of RFC 6238, appendix B");
