// The patient index part of the gateway's HTTP contract, typed: people, where they are, and how they were merged.

import { change, load } from './api';
import type { Person } from './associations';

export interface Found {
  /** The index's own number of the person: it means nothing outside this gateway. */
  person: number;
  patient: Person;
  /** Where they are now. */
  place: string | null;
}

export const patients = {
  /** What is searched for names a patient: it travels in the body, never in the address. */
  async search(text: string): Promise<Found[]> {
    const response = await change('/patients/search', { text });
    return ((await response.json()) as { patients: Found[] }).patients;
  },
  load,
};
