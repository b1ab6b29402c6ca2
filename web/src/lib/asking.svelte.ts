// Dialogs of a page about devices and patients: what is open, and what came of it.

import { tick } from 'svelte';
import type { Done } from './associations';

/** While a dialog is open nothing is reloaded below it; what came of it is said, and the focus goes there. */
export class Asking {
  open = $state(false);
  outcome = $state.raw<{ done: Done; sentence: string } | null>(null);
  said = $state<HTMLElement>();
  readonly #load: () => Promise<unknown>;

  constructor(load: () => Promise<unknown>) {
    this.#load = load;
  }

  readonly closed = () => (this.open = false);

  readonly ask = (show: () => unknown) => {
    this.open = true;
    this.outcome = null;
    void show();
  };

  readonly took = async (done: Done, sentence: string) => {
    this.outcome = { done, sentence };
    await this.#load();
    await tick();
    this.said?.focus();
  };
}
