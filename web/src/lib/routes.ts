// The HL7 routes part of the gateway's HTTP contract, typed: systems that take HL7 v2, and their queues.

import { count } from './words';
import { change, load, query, seg, type EntryId, type EntryState } from './api';

export type DestinationState = 'up' | 'idle' | 'retrying' | 'paused' | 'gone';

export interface Route {
  name: string;
  /** Links; none named: all. */
  from: string[];
  messages: string[];
  when: string | null;
  how: 'pass' | 'filtered' | 'measurements';
  /** The gateway's own sentence of it. */
  says: string;
  /** What messages built of measurements had no place for, since the gateway started. */
  left_out: { waveforms: number; alarms: number };
}

/** How delivery to a FHIR server or into a folder goes. */
export interface Delivery {
  kind: 'fhir' | 'ndjson';
  /** `closed`: it answers; `open`: it is left alone for a while; `half-open`: one request tries whether it answers. */
  breaker: 'closed' | 'open' | 'half-open';
  /** In a row. */
  failures: number;
  batch: number | null;
  in_flight: number | null;
  bytes_sent: number;
  /** By the time of day. */
  sends: 'all' | 'alarms' | 'nothing';
}

/** The main FHIR server. */
export interface MainServer {
  name: string;
  paused: boolean;
  delivery: Delivery;
}

export interface Destination {
  name: string;
  address: string | null;
  tls: boolean;
  acknowledge: 'original' | 'enhanced' | null;
  in_order: 'patient' | 'device' | 'none' | null;
  /** The configuration names it; if not, only its queue is left. */
  configured: boolean;
  state: DestinationState;
  /** Why it is tried again, for people. */
  trouble: string | null;
  connections: { connected: boolean; trouble: string | null }[];
  waiting: number;
  sent: number;
  held: number;
  /** When the message was queued that waits longest. */
  oldest: string | null;
  age_s: number | null;
  /** Since the gateway started. */
  accepted: number;
  accepted_at: string | null;
  /** Acknowledgements that fitted no message. */
  foreign: number;
  /** The last acknowledgement. */
  answer: { at: string; text: string } | null;
  routes: Route[];
  /** Of FHIR servers and folders. */
  delivery?: Delivery | null;
}

/** A message in the queue of a destination. */
export interface Outgoing {
  id: number;
  destination: string;
  entry: EntryId;
  part: number;
  route: string;
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
  control_id: string | null;
  answer: string | null;
}

export interface OutgoingPage {
  messages: Outgoing[];
  next: number | null;
}

/** With its bytes as sent or as they would be built now; without them, why. */
export interface OutgoingDetail extends Outgoing {
  bytes: string | null;
  why: string | null;
}

/** What a route left out, in words; nothing: null. */
export function leftOut({ waveforms, alarms }: Route['left_out']): string | null {
  const some = [waveforms > 0 && count(waveforms, 'wave'), alarms > 0 && count(alarms, 'alarm')].filter(
    Boolean,
  );
  return some.length > 0 ? some.join(' and ') : null;
}

export const routing = {
  destinations: async () => (await load<{ destinations: Destination[] }>('/destinations')).destinations,
  messages: (destination: string, terms: { state?: string; before?: number | undefined }) =>
    load<OutgoingPage>(`/destinations/${seg(destination)}/messages${query(terms)}`),
  message: (id: number) => load<OutgoingDetail>(`/outgoing/${id}`),
  main: async () => (await load<{ main?: MainServer | null }>('/destinations')).main ?? null,
  /** Both in RFC 3339; how many entries go again. */
  async replay(name: string, from: string, until: string): Promise<number> {
    const response = await change(`/destinations/${seg(name)}/replay`, { from, until });
    return ((await response.json()) as { replayed: number }).replayed;
  },
  async pause(name: string) {
    await change(`/destinations/${seg(name)}/pause`);
  },
  async resume(name: string) {
    await change(`/destinations/${seg(name)}/resume`);
  },
  async releaseAll(name: string): Promise<number> {
    const response = await change(`/destinations/${seg(name)}/release`);
    return ((await response.json()) as { released: number }).released;
  },
  async release(id: number) {
    await change(`/outgoing/${id}/release`);
  },
  async rebuild(id: number) {
    await change(`/outgoing/${id}/rebuild`);
  },
  async drop(id: number, reason: string) {
    await change(`/outgoing/${id}/drop`, { reason });
  },
};
