// Some actions want a fresh proof of who you are: the call that was refused waits, the dialog asks, the call is made again.

import { again } from './api';
import { m, translated, type Message } from './i18n';
import type { Problem } from './problem';

/** What the gateway says (`Doubt::why`), as a sentence in the desk's language. */
const WHY: Readonly<Record<string, Message>> = {
  'you are on another network than when you logged in': m(
    'You are on another network than when you logged in.',
  ),
  'this is another browser than the one that logged in': m(
    'This is another browser than the one that logged in.',
  ),
  'this action needs a fresh proof of who you are': m('This action needs a fresh proof of who you are.'),
};

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
    const known = WHY[problem.detail];
    why = known ? translated(known) : `${problem.detail}.`;
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
