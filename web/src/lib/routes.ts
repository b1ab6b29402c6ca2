// The HL7 routes part of the gateway's HTTP contract, typed: systems that take HL7 v2, and their queues.

import { change, load, query, seg, type EntryId, type EntryState } from './api';

export type DestinationState = 'up' | 'down' | 'idle';

export interface Destination {
  name: string;
  address: string;
  tls: boolean;
  acknowledge: 'original' | 'enhanced';
  state: DestinationState;
  /** What goes wrong, for people. */
  detail: string | null;
  /** It is still in the configuration. */
  wanted: boolean;
  paused: boolean;
  waiting: number;
  sent: number;
  held: number;
  /** When the message was queued that waits longest. */
  oldest: string | null;
  /** Since the gateway started. */
  accepted: number;
  accepted_at: string | null;
  /** The last acknowledgement. */
  answer: { at: string; text: string } | null;
  /** Acknowledgements that fitted no message. */
  foreign: number;
}

export interface Route {
  name: string;
  /** Links; none named: all. */
  from: string[];
  messages: string[];
  when: string | null;
  to: string;
  how: 'pass' | 'filtered' | 'measurements';
}

export interface Routing {
  destinations: Destination[];
  routes: Route[];
}

/** A message in the queue of a destination. */
export interface Outgoing {
  id: number;
  destination: string;
  route: string;
  entry: EntryId;
  part: number;
  state: EntryState;
  attempts: number;
  revision: number;
  queued: string;
  next_try: string | null;
  sent_at: string | null;
  /** The receiver took it over and has not said yet what it makes of it. */
  committed: string | null;
  answered_at: string | null;
  reason: string | null;
  /** MSH-10. */
  control: string | null;
  answer: string | null;
}

export interface OutgoingPage {
  messages: Outgoing[];
  next: number | null;
}

export interface OutgoingFilter {
  destination?: string | undefined;
  state?: string | undefined;
  entry?: EntryId | undefined;
  before?: number | undefined;
}

export const routing = {
  standing: () => load<Routing>('/routes'),
  messages: (filter: OutgoingFilter) => load<OutgoingPage>(`/routes/messages${query({ ...filter })}`),
  async pause(name: string) {
    await change(`/routes/destinations/${seg(name)}/pause`);
  },
  async resume(name: string) {
    await change(`/routes/destinations/${seg(name)}/resume`);
  },
  async release(id: number) {
    await change(`/routes/messages/${id}/release`);
  },
  async rebuild(id: number) {
    await change(`/routes/messages/${id}/rebuild`);
  },
  async drop(id: number, reason: string) {
    await change(`/routes/messages/${id}/drop`, { reason });
  },
};

const HOW: Record<Route['how'], string> = {
  pass: 'as they came',
  filtered: 'with fields left out or set',
  measurements: 'built from what was measured',
};

/** A route in one sentence. */
export function routeText(route: Route): string {
  const from = route.from.length > 0 ? `from ${route.from.join(', ')}` : 'from every link';
  const what = route.messages.length > 0 ? route.messages.join(', ') : 'All messages';
  const when = route.when ? ` when ${route.when}` : '';
  return `${what} ${from}${when}, ${HOW[route.how] ?? route.how}`;
}
