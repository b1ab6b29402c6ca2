// The patient index part of the gateway's HTTP contract, typed: people, where they are, and how they were merged.

import { change, load, type EntryId } from './api';
import type { Person, Place } from './associations';
import { sameCode } from './scan';

export interface Identifier {
  system: string;
  value: string;
  /** HL7 table 0203, e.g. `MR`. */
  kind: string | null;
  /** Used no longer; it still finds the person. */
  retired: boolean;
}

export interface Indexed {
  /** The gateway's own number of the person: it means nothing elsewhere. */
  id: number;
  family: string | null;
  given: string | null;
  birth_date: string | null;
  gender: string | null;
  /** The leading one first. */
  identifiers: Identifier[];
  place: Place | null;
  /** When a source last said anything of them. */
  told: string;
  /** Deleted at the source. */
  removed: boolean;
}

/** What the answer rests on. */
export interface Known {
  persons: number;
  occupied: number;
  sources: { name: string; heard: string }[];
}

export interface Stay {
  place: Place;
  visit: string | null;
  since: string;
  until: string | null;
  on_leave: boolean;
}

export interface Merge {
  id: number;
  survivor: number;
  gone: number;
  at: string;
  entry: EntryId | null;
  undone: string | null;
  undone_by: string | null;
}

export interface IndexedDetail extends Indexed {
  stays: Stay[];
  merges: Merge[];
  sources: { entry: EntryId; event: string; told: string }[];
}

export interface Occupant {
  id: number;
  number: string | null;
  family: string | null;
  given: string | null;
  birth_date: string | null;
  since: string;
  on_leave: boolean;
}

export interface Occupied extends Place {
  occupants: Occupant[];
  conflict: boolean;
}

export const patients = {
  /** What is searched for names a patient: it travels in the body, never in the address. */
  async search(text: string): Promise<{ people: Indexed[]; known: Known }> {
    const response = await change('/people', { text });
    return (await response.json()) as { people: Indexed[]; known: Known };
  },
  person: (id: number) => load<IndexedDetail>(`/people/${id}`),
  places: () => load<{ places: Occupied[]; known: Known }>('/places'),
  /** How many entries of that time are not kept any more and stay as they were delivered. */
  async unmerge(merge: number): Promise<number> {
    const response = await change(`/people/merges/${merge}/undo`);
    return ((await response.json()) as { beyond?: number }).beyond ?? 0;
  },
};

/** A person of the index by one identifier, as associations name them: the one that `code` is, else the leading one. */
export function asPerson(one: Indexed, code = ''): Person {
  const named = one.identifiers.find(({ value }) => sameCode(value, code)) ?? one.identifiers[0];
  const { family, given, birth_date, gender } = one;
  return {
    id: named?.value ?? '',
    system: named?.system ?? '',
    family,
    given,
    birth_date,
    gender,
    known: true,
  };
}

/** The place of a bed within its ward, and the ward. */
export interface Ward {
  name: string;
  beds: Occupied[];
}

export function wards(places: readonly Occupied[]): Ward[] {
  const found = new Map<string, Ward>();
  for (const bed of places) {
    const name = [bed.facility, bed.point_of_care].filter(Boolean).join(', ') || 'No ward named';
    const ward = found.get(name);
    if (ward) ward.beds.push(bed);
    else found.set(name, { name, beds: [bed] });
  }
  return [...found.values()];
}
