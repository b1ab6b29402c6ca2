// One thing a page loads: the value, or what went wrong. A late answer never replaces a newer one.

import { asProblem, type Problem } from './problem';

export class Loading<T> {
  value = $state.raw<T | null>(null);
  problem = $state.raw<Problem | null>(null);
  busy = $state(false);
  private turn = 0;

  async run(load: () => Promise<T>): Promise<void> {
    const turn = ++this.turn;
    this.busy = true;
    try {
      const value = await load();
      if (turn !== this.turn) return;
      this.value = value;
      this.problem = null;
    } catch (thrown) {
      if (turn === this.turn) this.problem = asProblem(thrown);
    } finally {
      if (turn === this.turn) this.busy = false;
    }
  }

  clear(): void {
    this.turn += 1;
    this.value = null;
    this.problem = null;
    this.busy = false;
  }
}
