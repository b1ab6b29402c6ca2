// The worklist part of the gateway's HTTP contract, typed: what laboratory analysers are told when they ask.

import { read, write, type Told } from './api';

export type Order = Told['Order'];
export type OrderState = Order['state'];
export type Priority = Told['Priority'];
export type OrderPatient = Told['OrderPatient'];
export type Worklist = Told['Worklist'];
export type NewOrder = Told['OrderWanted'];

export const worklist = {
  /** What is looked for may be a patient's name: it travels in the body, never in the address. */
  list: (state: string, text: string): Promise<Worklist> =>
    text
      ? write('/api/v1/worklist/find', { body: { state: state as OrderState, text } })
      : read('/api/v1/worklist', { query: { state: state as OrderState } }),
  async add(order: NewOrder) {
    await write('/api/v1/worklist', { body: order });
  },
  async cancel(id: Order['id']) {
    await write('/api/v1/worklist/{id}/cancel', { path: { id } });
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
