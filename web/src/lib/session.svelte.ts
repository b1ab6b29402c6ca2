// Who is at the desk, and whether the gateway still waits for its first user.

import { api, type Session, type Setup } from './api';
import { startLive, stopLive } from './live.svelte';
import { asProblem, type Problem } from './problem';
import { may } from './rights';
import { go, route } from './router.svelte';

/** Only a hint that a session may exist: without it there is nothing to ask the gateway for. */
const HINT = 'bedside.session';

let setup = $state.raw<Setup | null>(null);
let session = $state.raw<Session | null>(null);
let problem = $state.raw<Problem | null>(null);
/** Why the login page is shown again, if the user did not ask for it. */
let ended = $state(false);

export const desk = {
  get setup() {
    return setup;
  },
  get session() {
    return session;
  },
  get problem() {
    return problem;
  },
  get ended() {
    return ended;
  },
  get simulated() {
    return session?.simulated ?? setup?.simulated ?? false;
  },
  get site() {
    return session?.site ?? setup?.site ?? '';
  },
  get version() {
    return session?.version ?? setup?.version ?? '';
  },
};

export async function open(): Promise<void> {
  problem = null;
  try {
    const fresh = await api.setup();
    if (!fresh.needed && localStorage.getItem(HINT)) await enter().catch(loggedOutOr);
    setup = fresh;
  } catch (thrown) {
    problem = asProblem(thrown);
  }
}

function loggedOutOr(thrown: unknown): void {
  if (asProblem(thrown).status !== 401) throw thrown;
  sessionEnded();
}

/** After a login or the set-up: the cookie is there, now the session behind it. */
export async function enter(): Promise<void> {
  const fresh = await api.session();
  localStorage.setItem(HINT, '1');
  session = fresh;
  ended = false;
  if (setup?.needed) setup = { ...setup, needed: false };
  // Whoever can finish the set-up is led on to it, until it was begun.
  if (fresh.setup?.untouched && route.path === '/') go('/setup', { replace: true });
  if (fresh.stage === 'in' && may(fresh.permissions, 'look')) startLive(sessionEnded);
}

/** What one may or who one is changed: ask again, without starting anew. */
export async function refresh(): Promise<void> {
  session = await api.session();
}

/** Somebody leaves for another system to log in there: on the way back there is a session to ask for. */
export function leaveForLogin(): void {
  localStorage.setItem(HINT, '1');
}

/** Somebody else finished the set-up first. */
export function setupIsDone(): void {
  if (setup) setup = { ...setup, needed: false };
}

export function sessionEnded(): void {
  ended = session !== null;
  leave();
}

export async function logout(): Promise<void> {
  await api.logout().catch((thrown) => {
    if (asProblem(thrown).status !== 401) throw thrown;
  });
  ended = false;
  leave();
}

function leave(): void {
  localStorage.removeItem(HINT);
  stopLive();
  session = null;
}
