// The HL7 routes part of the gateway's HTTP contract, typed: systems that take HL7 v2, and their queues.

import { listed, plural } from './i18n';
import { read, write, type EntryState, type Told } from './api';

export type Route = Told['Route'];
export type Destination = Told['Destination'];
export type DestinationState = Destination['state'];
/** The main FHIR server, and how delivery to a server or into a folder goes. */
export type MainServer = Told['MainServer'];
export type Delivery = NonNullable<Destination['delivery']>;
/** A message in the queue of a destination. */
export type Outgoing = Told['OutgoingMessage'];
export type OutgoingPage = Told['OutgoingPage'];
/** With its bytes as sent or as they would be built now; without them, why. */
export type OutgoingDetail = Told['OutgoingDetail'];

/** What a route left out, in words; nothing: null. */
export function leftOut({ waveforms, alarms }: Route['left_out']): string | null {
  const some = [
    waveforms > 0 && plural(waveforms, '{n} wave', '{n} waves'),
    alarms > 0 && plural(alarms, '{n} alarm', '{n} alarms'),
  ].filter((one) => one !== false);
  return some.length > 0 ? listed(some) : null;
}

export const routing = {
  destinations: async () => (await read('/api/v1/destinations')).destinations,
  messages: (name: string, terms: { state?: string; before?: number | undefined }) =>
    read('/api/v1/destinations/{name}/messages', {
      path: { name },
      query: { ...terms, state: terms.state as EntryState },
    }),
  message: (id: number) => read('/api/v1/outgoing/{id}', { path: { id } }),
  main: async () => (await read('/api/v1/destinations')).main ?? null,
  /** Both in RFC 3339; how many entries go again. */
  replay: async (name: string, from: string, until: string) =>
    (await write('/api/v1/destinations/{name}/replay', { path: { name }, body: { from, until } })).replayed,
  async pause(name: string) {
    await write('/api/v1/destinations/{name}/pause', { path: { name } });
  },
  async resume(name: string) {
    await write('/api/v1/destinations/{name}/resume', { path: { name } });
  },
  releaseAll: async (name: string): Promise<number> =>
    (await write('/api/v1/destinations/{name}/release', { path: { name } })).released,
  async release(id: number) {
    await write('/api/v1/outgoing/{id}/release', { path: { id } });
  },
  async rebuild(id: number) {
    await write('/api/v1/outgoing/{id}/rebuild', { path: { id } });
  },
  async drop(id: number, reason: string) {
    await write('/api/v1/outgoing/{id}/drop', { path: { id }, body: { reason } });
  },
};
