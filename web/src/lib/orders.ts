// The worklist part of the gateway's HTTP contract, typed: what laboratory analysers are told when they ask.

import { change, load, query, seg } from './api';

export type OrderState = 'open' | 'sent' | 'done' | 'cancelled';
export type Priority = 'routine' | 'stat';

export interface OrderPatient {
  id: string;
  family: string | null;
  given: string | null;
  birth_date: string | null;
  gender: string | null;
}

export interface Order {
  id: number | string;
  specimen: string;
  tests: string[];
  priority: Priority;
  patient: OrderPatient | null;
  specimen_kind: string | null;
  collected: string | null;
  source: 'desk' | 'hl7' | 'fhir';
  number: string | null;
  created: string;
  by: string | null;
  state: OrderState;
  /** Who asked for it, and what they were told. */
  asked: { at: string; link: string; outcome: string }[];
}

export interface Worklist {
  orders: Order[];
  counts: Record<OrderState, number>;
}

export interface NewOrder {
  specimen: string;
  tests: string[];
  priority?: Priority;
  patient?: {
    system?: string;
    id: string;
    family?: string;
    given?: string;
    birth_date?: string;
    gender?: string;
  };
  specimen_kind?: string;
  collected?: string;
}

export const worklist = {
  /** What is looked for can name a patient: it goes in the body, never in an address. */
  async list(state: string, text: string): Promise<Worklist> {
    if (text === '') return load<Worklist>(`/worklist${query({ state })}`);
    const found = await change('/worklist/find', { state, text });
    return (await found.json()) as Worklist;
  },
  async add(order: NewOrder) {
    await change('/worklist', order);
  },
  async cancel(id: Order['id']) {
    await change(`/worklist/${seg(String(id))}/cancel`);
  },
};

/** Test codes as they were typed, scanned or pasted: split at commas, semicolons and spaces, each once. */
export function codesIn(text: string, already: readonly string[] = []): string[] {
  const codes = text.split(/[\s,;]+/).filter(Boolean);
  return [...new Set([...already, ...codes])];
}

/** An object without its empty members, so that what was not said is not sent. */
export function said<T extends Record<string, string>>(form: T): Partial<T> {
  const trimmed = Object.entries(form).map(([key, value]) => [key, value.trim()] as const);
  return Object.fromEntries(trimmed.filter(([, value]) => value !== '')) as Partial<T>;
}
