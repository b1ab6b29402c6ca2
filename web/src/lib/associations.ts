// The association part of the gateway's HTTP contract, typed: which patient a device is with, and since when.

import { read, write, type EntryId, type Told } from './api';
import { Problem } from './problem';

export type DoubtCounts = Told['DoubtCounts'];
export type Doubt = Told['Doubt'];
export type DoubtState = Doubt['state'];
export type Doubts = Told['Doubts'];
export type Person = Told['Person'];
export type Place = Told['Place'];
export type Void = Told['VoidAssociation'];
export type Association = Told['Association'];
export type Stand = Told['AssociatedDevice'];
export type Policy = Told['AssociationPolicy'];
export type Standing = Told['Associations'];
export type Home = Told['DeviceHome'];
export type Timeline = Told['DeviceTimeline'];
/** What a change did to what was held and what was delivered. */
export type Done = Told['AssociationDone'];
export type PatientWanted = Told['PatientWanted'];
export type AssociationWanted = Told['AssociationWanted'];
export type Correction = Told['AssociationCorrection'];
export type PlaceWanted = Told['PlaceWanted'];

/** The gateway re-reads entries before it answers, for at most five seconds. */
const CHANGE_PATIENCE_MS = 30_000;

export const associations = {
  standing: () => read('/api/v1/associations'),
  timeline: (key: string) => read('/api/v1/associations/devices/{key}', { path: { key } }),
  doubts: (terms: { state?: DoubtState; device?: string; after?: EntryId } = {}) =>
    read('/api/v1/associations/doubts', { query: terms }),
  /** What was scanned may be a wristband by mistake: it travels in the body, never in the address. */
  find: (code: string) => write('/api/v1/associations/find', { body: { code } }),
  associate: (body: AssociationWanted) => write('/api/v1/associations', { body }, CHANGE_PATIENCE_MS),
  end: (id: number, body: Told['AssociationEnd']) =>
    write('/api/v1/associations/{id}/end', { path: { id }, body }, CHANGE_PATIENCE_MS),
  correct: (id: number, body: Correction) =>
    write('/api/v1/associations/{id}/correct', { path: { id }, body }, CHANGE_PATIENCE_MS),
  home: (device: string, place: PlaceWanted | null) =>
    write('/api/v1/associations/home', { body: { device, place } }, CHANGE_PATIENCE_MS),
};

export function nameOf(person: Pick<Person, 'family' | 'given'>): string {
  return [person.family, person.given].filter(Boolean).join(', ');
}

export function waitingIn(counts: DoubtCounts): number {
  return counts.orphan + counts.conflict + counts.review;
}

/** What the gateway asks back before it takes an association, when its refusal is a question. */
export type Question = 'replace' | 'unknown' | 'issuer';

const QUESTIONS: Record<string, Question> = {
  'association-taken': 'replace',
  'association-unknown-person': 'unknown',
  'association-several-people': 'issuer',
};

export function questionOf(problem: Problem): Question | null {
  if (problem.status !== 409) return null;
  return (problem.code !== null && QUESTIONS[problem.code]) || null;
}

/** Doubts with one device and one reason: what one decision can settle. */
export interface Knot {
  device: string;
  state: DoubtState;
  why: string;
  entries: EntryId[];
  first: string;
  last: string;
}

export function knots(doubts: readonly Doubt[]): Knot[] {
  const found = new Map<string, Knot>();
  for (const { entry, device, state, why, first, last } of doubts) {
    const name = JSON.stringify([device, state, why]);
    const knot = found.get(name);
    if (!knot) {
      found.set(name, { device, state, why, entries: [entry], first, last });
      continue;
    }
    knot.entries.push(entry);
    if (Date.parse(first) < Date.parse(knot.first)) knot.first = first;
    if (Date.parse(last) > Date.parse(knot.last)) knot.last = last;
  }
  return [...found.values()];
}

/** One band of the timeline's picture, in shares (0 to 1) of its width. */
export interface Band {
  id: number;
  left: number;
  width: number;
}

interface Span {
  id: number;
  since: string;
  until: string | null;
}

/** The parts of `spans` that lie between two moments; what is open goes to the end. */
export function bands(spans: readonly Span[], from_ms: number, to_ms: number): Band[] {
  const whole_ms = to_ms - from_ms;
  if (whole_ms <= 0) return [];
  return spans.flatMap(({ id, since, until }) => {
    const start_ms = Math.max(from_ms, Date.parse(since));
    const end_ms = Math.min(to_ms, until === null ? to_ms : Date.parse(until));
    if (!(end_ms > start_ms)) return [];
    return [{ id, left: (start_ms - from_ms) / whole_ms, width: (end_ms - start_ms) / whole_ms }];
  });
}

/** A `datetime-local` value in this browser's zone, to the minute. */
export function localInput(rfc3339: string): string {
  const at = new Date(rfc3339);
  if (Number.isNaN(at.getTime())) return '';
  const shifted = new Date(at.getTime() - at.getTimezoneOffset() * 60_000);
  return shifted.toISOString().slice(0, 16);
}

/** RFC 3339 of a `datetime-local` value; nothing when it is none. */
export function fromLocal(text: string): string | undefined {
  const at = new Date(text);
  return text && !Number.isNaN(at.getTime()) ? at.toISOString() : undefined;
}
