// The patient index part of the gateway's HTTP contract, typed: people, where they are, and how they were merged.

import { t } from './i18n';
import { read, write, type Told } from './api';
import type { Person } from './associations';
import { sameCode } from './scan';

export type Identifier = Told['Identifier'];
/** A person of the index; `id` is the gateway's own number and means nothing elsewhere. */
export type Indexed = Told['IndexedPerson'];
/** What the answer rests on. */
export type Known = Told['PeopleKnown'];
export type Stay = Told['Stay'];
export type Merge = Told['Merge'];
export type IndexedDetail = Told['IndexedPersonDetail'];
export type Occupant = Told['Occupant'];
export type Occupied = Told['OccupiedPlace'];

export const patients = {
  /** What is searched for names a patient: it travels in the body, never in the address. */
  search: (text: string) => write('/api/v1/people', { body: { text } }),
  person: (id: number) => read('/api/v1/people/{id}', { path: { id } }),
  places: () => read('/api/v1/places'),
  /** How many entries of that time are not kept any more and stay as they were delivered. */
  async unmerge(merge: number): Promise<number> {
    return (await write('/api/v1/people/merges/{id}/undo', { path: { id: merge } })).beyond;
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
    const name = [bed.facility, bed.point_of_care].filter(Boolean).join(', ') || t('No ward named');
    const ward = found.get(name);
    if (ward) ward.beds.push(bed);
    else found.set(name, { name, beds: [bed] });
  }
  return [...found.values()];
}
