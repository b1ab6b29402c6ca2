// Finishing the set-up, and who and where the box is, in the gateway's HTTP contract.

import { ask, read, write, type Told } from './api';
import { asProblem } from './problem';

export type FirstSteps = Told['FirstSteps'];
export type SetupStep = Told['SetupStep'];
export type StepState = FirstSteps['steps'][number]['state'];
export type SiteView = Told['SiteView'];
export type SitePage = Told['SitePage'];
export type PutOff = Told['PutOffSteps'];

/** How long the box may be away, and how often it is asked whether it is back. */
const AWAY_MAX_MS = 60_000;
const ASK_EVERY_MS = 1000;
/** What was asked for is answered before the box ends: it is not asked at once. */
const LEAVING_MS = 2000;

const rest = (ms: number) => new Promise((wake) => setTimeout(wake, ms));

export const site = {
  steps: () => read('/api/v1/first-steps'),
  async putOff(off: PutOff) {
    await ask('/api/v1/first-steps', { body: off });
  },
  save: (page: SitePage) => write('/api/v1/site', { body: page }),
};

/** Asks until the box, which starts anew, answers again. */
export async function backAgain<T>(asks: () => Promise<T>): Promise<T> {
  const until = Date.now() + AWAY_MAX_MS;
  await rest(LEAVING_MS);
  for (;;) {
    try {
      return await asks();
    } catch (thrown) {
      if (Date.now() > until) throw asProblem(thrown);
      await rest(ASK_EVERY_MS);
    }
  }
}

/** Every zone this browser knows; none where it does not say. */
export function zones(): string[] {
  return Intl.supportedValuesOf?.('timeZone') ?? [];
}

/** The zone this browser lives in. */
export const zoneHere = (): string => Intl.DateTimeFormat().resolvedOptions().timeZone;

/** The time of now in a zone; nothing for one that this browser does not know. */
export function timeIn(zone: string, now_ms: number): string {
  try {
    return new Intl.DateTimeFormat('sv-SE', {
      timeZone: zone,
      dateStyle: 'short',
      timeStyle: 'short',
    }).format(now_ms);
  } catch {
    return '';
  }
}

/** The step to show: the one that is asked for, else the first that is open, else the first. */
export function stepShown(steps: FirstSteps['steps'], asked: string | null): SetupStep | null {
  if (asked === 'none') return null;
  const found = steps.find(({ step }) => step === asked) ?? steps.find(({ state }) => state === 'open');
  return found?.step ?? null;
}

/** With one step for later, or taken up again. */
export function later(off: PutOff, step: SetupStep, on: boolean): PutOff {
  const others = off.later.filter((one) => one !== step);
  return { ...off, later: on ? [...others, step] : others };
}
