// Counts what held and what did not, and says so line by line.

export class Tally {
  passed = 0;
  failed = 0;

  /** Runs one check. It fails by throwing, and the walk goes on. Gives what the check gave. */
  async check(sentence, act) {
    try {
      const found = await act();
      this.passed += 1;
      console.log(`ok    ${sentence}`);
      return found;
    } catch (fault) {
      this.failed += 1;
      console.log(
        `FAIL  ${sentence}\n      ${String(fault.message ?? fault).replaceAll("\n", "\n      ")}`,
      );
      return undefined;
    }
  }

  close() {
    console.log(`${this.passed} passed, ${this.failed} failed`);
    return this.failed === 0 ? 0 : 1;
  }
}

/** Throws the sentence unless it is true. */
export function must(truth, otherwise) {
  if (!truth) throw new Error(otherwise);
}

/** Asks again until the answer is truthy; throws with the last answer's words when time is up. */
export async function eventually(limit_ms, what, ask) {
  const end = Date.now() + limit_ms;
  let last;
  for (;;) {
    last = await ask();
    if (last) return last;
    if (Date.now() > end) throw new Error(`${what}: not within ${limit_ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}
