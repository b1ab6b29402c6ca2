// The live overview: kept fresh by the gateway's stream, honest about it when the stream breaks.

import { api, type LivePoint, type Overview } from './api';
import { asProblem, type Problem } from './problem';
import { readStream } from './sse';

/** The gateway sends a heartbeat every 10 s: two missed ones and a half mean the stream is dead. */
const SILENCE_MS = 25_000;
const RETRY_FIRST_MS = 1000;
const RETRY_MAX_MS = 15_000;

let overview = $state.raw<Overview | null>(null);
let connected = $state(false);
let staleSince = $state<string | null>(null);
let problem = $state.raw<Problem | null>(null);
/** Gateway clock minus this browser's clock. */
let offset_ms = $state(0);
let tick_ms = $state(Date.now());

/** When the stream last gave any sign of life, a heartbeat included, by this browser's clock. */
let heard_ms = 0;
const listeners = new Set<(point: LivePoint) => void>();
let abort: AbortController | null = null;
let ticking: ReturnType<typeof setInterval> | undefined;

export const live = {
  get overview() {
    return overview;
  },
  get connected() {
    return connected;
  },
  /** Gateway time of the last sign of life when the stream is broken, else null. */
  get staleSince() {
    return staleSince;
  },
  /** Why the stream could not be opened, while it could not. */
  get problem() {
    return problem;
  },
  /** The gateway's time now, in epoch ms; moves once a second. */
  get now_ms() {
    return tick_ms + offset_ms;
  },
};

function take(fresh: Overview): void {
  overview = fresh;
  const now = Date.parse(fresh.now);
  if (!Number.isNaN(now)) offset_ms = now - Date.now();
  connected = true;
  staleSince = null;
  problem = null;
}

function hear(message: { name: string; text: string }): void {
  if (message.name === 'overview') take(JSON.parse(message.text) as Overview);
  if (message.name === 'point') {
    const point = JSON.parse(message.text) as LivePoint;
    for (const listener of listeners) listener(point);
  }
}

function lost(): void {
  connected = false;
  if (overview && !staleSince) staleSince = new Date(heard_ms + offset_ms).toISOString();
}

const pause = (ms: number, signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  });

/** Grows to the limit, and is spread so that many tablets do not come back at one instant. */
export function backoff_ms(failures: number, chance: number): number {
  const step = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(failures, 10));
  return Math.round(step * (0.5 + chance / 2));
}

async function listen(signal: AbortSignal, loggedOut: () => void): Promise<void> {
  let failures = 0;
  while (!signal.aborted) {
    try {
      const response = await api.live(signal);
      if (response.body) {
        const alive = () => (heard_ms = Date.now());
        await readStream(response.body, SILENCE_MS, (message) => ((failures = 0), hear(message)), alive);
      }
    } catch (thrown) {
      if (signal.aborted) return;
      problem = asProblem(thrown);
      if (problem.status === 401) return loggedOut();
    }
    if (signal.aborted) return;
    lost();
    await pause(backoff_ms(failures, Math.random()), signal);
    failures += 1;
  }
}

export function startLive(loggedOut: () => void): void {
  stopLive();
  abort = new AbortController();
  tick_ms = Date.now();
  ticking = setInterval(() => (tick_ms = Date.now()), 1000);
  void listen(abort.signal, loggedOut);
}

export function stopLive(): void {
  abort?.abort();
  abort = null;
  clearInterval(ticking);
  overview = null;
  problem = null;
  connected = false;
  staleSince = null;
}

/** Hears fresh trend points until the given function is called. */
export function onPoint(listener: (point: LivePoint) => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
