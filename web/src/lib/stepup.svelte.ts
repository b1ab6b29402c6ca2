// Some actions want a fresh proof of who you are: the call that was refused waits, the dialog asks, the call is made again.

import { again } from './api';
import type { Problem } from './problem';

/** Why it is asked; null: nothing is. */
let why = $state.raw<string | null>(null);
let answer: ((proven: boolean) => void) | null = null;

export const stepUp = {
  get why() {
    return why;
  },
};

/** Several calls at once are one question. */
let asking: Promise<boolean> | null = null;

function ask(problem: Problem): Promise<boolean> {
  asking ??= new Promise<boolean>((resolve) => {
    answer = resolve;
    why = problem.detail;
  }).finally(() => {
    asking = null;
    why = null;
  });
  return asking;
}

export function proven(yes: boolean): void {
  answer?.(yes);
  answer = null;
}

again.ask = ask;
