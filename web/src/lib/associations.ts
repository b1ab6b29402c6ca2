// The association part of the gateway's HTTP contract, typed: which patient a device is with, and since when.

import { change, load, query, seg, type EntryId } from './api';
import { Problem } from './problem';

export type DoubtState = 'orphan' | 'conflict' | 'review';
export type DoubtCounts = Record<DoubtState, number>;

export interface Person {
  id: string;
  /** Who gave the number: a URI, or empty. */
  system: string;
  family: string | null;
  given: string | null;
  birth_date: string | null;
  gender: string | null;
  /** The patient index knows the person. */
  known: boolean;
}

export interface Place {
  facility: string | null;
  point_of_care: string | null;
  room: string | null;
  bed: string | null;
  label: string;
}

export interface Void {
  at: string;
  by: string;
  why: string;
  replaced_by: number | null;
}

export interface Association {
  id: number;
  patient: Person;
  since: string;
  until: string | null;
  source: 'manual' | 'scanned';
  /** It stands above what the device and the bed say. */
  overrules: boolean;
  by: string;
  made: string;
  reason: string | null;
  /** A user, or `discharge`, `transfer`, `timeout`. */
  ended_by: string | null;
  ended_why: string | null;
  void: Void | null;
}

export interface Stand {
  key: string;
  label: string;
  link: string;
  home: Place | null;
  /** The association that holds now. */
  association: Association | null;
  /** Who is in its home bed now, by the patient index. */
  in_bed: Person[];
  waiting: DoubtCounts;
}

export interface Policy {
  unknown: 'deliver' | 'hold';
  timeout_h: number | null;
  end_on: string[];
  on_merge: 'leave' | 'relink';
}

export interface Standing {
  devices: Stand[];
  waiting: DoubtCounts;
  policy: Policy;
}

export interface Home {
  place: Place;
  since: string;
  until: string | null;
  by: string;
}

export interface Timeline {
  device: Stand;
  /** The latest first; void ones too. */
  associations: Association[];
  homes: Home[];
}

export interface Doubt {
  entry: EntryId;
  device: string;
  state: DoubtState;
  why: string;
  first: string;
  last: string;
}

export interface Doubts {
  doubts: Doubt[];
  counts: DoubtCounts;
  next: EntryId | null;
}

/** What a change did to what was held and what was delivered. */
export interface Done {
  id: number | null;
  released: number;
  corrected: number;
  held: number;
  /** Entries of that time that are no longer kept: they stay as they were delivered. */
  beyond?: number;
}

export interface PatientWanted {
  id: string;
  system?: string;
  family?: string;
  given?: string;
  birth_date?: string;
  gender?: string;
}

export interface AssociationWanted {
  device: string;
  patient: PatientWanted;
  from?: string;
  until?: string;
  scanned?: boolean;
  replace?: boolean;
  overrules?: boolean;
  reason?: string;
  unknown?: boolean;
}

export interface Correction {
  reason: string;
  nobody?: boolean;
  patient?: PatientWanted;
  from?: string;
  until?: string;
  open?: boolean;
  overrules?: boolean;
  unknown?: boolean;
}

export interface PlaceWanted {
  facility?: string;
  point_of_care?: string;
  room?: string;
  bed?: string;
}

const answered = async <T>(response: Response): Promise<T> => (await response.json()) as T;

/** The gateway re-reads entries before it answers, for at most five seconds. */
const CHANGE_PATIENCE_MS = 30_000;
const changed = async (path: string, body: object = {}): Promise<Done> =>
  answered<Done>(await change(`/associations${path}`, body, CHANGE_PATIENCE_MS));

export const associations = {
  standing: () => load<Standing>('/associations'),
  timeline: (key: string) => load<Timeline>(`/associations/devices/${seg(key)}`),
  doubts: (terms: { state?: DoubtState; device?: string; after?: EntryId } = {}) =>
    load<Doubts>(`/associations/doubts${query({ ...terms })}`),
  /** What was scanned may be a wristband by mistake: it travels in the body, never in the address. */
  find: async (code: string) => answered<Stand>(await change('/associations/find', { code })),
  associate: (wanted: AssociationWanted) => changed('', wanted),
  end: (id: number, wanted: { at?: string; reason?: string }) => changed(`/${id}/end`, wanted),
  correct: (id: number, wanted: Correction) => changed(`/${id}/correct`, wanted),
  home: (device: string, place: PlaceWanted | null) => changed('/home', { device, place }),
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
