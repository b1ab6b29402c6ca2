import { describe, expect, it } from 'vitest';
import { bands, fromLocal, knots, localInput, nameOf, questionOf, type Doubt } from './associations';
import { Problem } from './problem';

const HOUR_MS = 3_600_000;
const at = (hour: number) => new Date(Date.UTC(2026, 10, 22, hour)).toISOString();

describe('doubts', () => {
  const doubt = (entry: number, device: string, hour: number, why = 'nobody is known'): Doubt => ({
    entry,
    device,
    state: 'orphan',
    why,
    first: at(hour),
    last: at(hour + 1),
  });

  it('of one device with one reason are one knot, over all their time', () => {
    expect(knots([doubt(1, 'a', 9), doubt(2, 'b', 8), doubt(3, 'a', 7), doubt(4, 'a', 9, 'other')])).toEqual([
      { device: 'a', state: 'orphan', why: 'nobody is known', entries: [1, 3], first: at(7), last: at(10) },
      { device: 'b', state: 'orphan', why: 'nobody is known', entries: [2], first: at(8), last: at(9) },
      { device: 'a', state: 'orphan', why: 'other', entries: [4], first: at(9), last: at(10) },
    ]);
  });
});

describe('bands', () => {
  const from_ms = Date.parse(at(8));

  it('are shares of the time shown, cut at its ends; what is open goes to the end', () => {
    const spans = [
      { id: 1, since: at(6), until: at(10) },
      { id: 2, since: at(11), until: null },
      { id: 3, since: at(5), until: at(7) },
      { id: 4, since: at(13), until: null },
    ];
    expect(bands(spans, from_ms, from_ms + 4 * HOUR_MS)).toEqual([
      { id: 1, left: 0, width: 0.5 },
      { id: 2, left: 0.75, width: 0.25 },
    ]);
  });

  it('are none when there is no time to show or a time cannot be read', () => {
    expect(bands([{ id: 1, since: at(6), until: null }], from_ms, from_ms)).toEqual([]);
    expect(bands([{ id: 1, since: 'soon', until: null }], from_ms, from_ms + HOUR_MS)).toEqual([]);
  });
});

describe('a refusal', () => {
  const refused = (status: number, code: string) => new Problem(status, 'Conflict', 'some words', code);

  it('is a question only when the gateway asks one', () => {
    expect(questionOf(refused(409, 'association-taken'))).toBe('replace');
    expect(questionOf(refused(409, 'association-unknown-person'))).toBe('unknown');
    expect(questionOf(refused(409, 'association-several-people'))).toBe('issuer');
    expect(questionOf(refused(409, 'association'))).toBeNull();
    expect(questionOf(refused(503, 'association-taken'))).toBeNull();
  });
});

describe('a time typed', () => {
  it('comes back as the moment it was made of', () => {
    expect(fromLocal(localInput('2026-11-22T08:15:00.000Z'))).toBe('2026-11-22T08:15:00.000Z');
    expect(fromLocal('')).toBeUndefined();
    expect(fromLocal('tomorrow')).toBeUndefined();
    expect(localInput('never')).toBe('');
  });
});

describe('a name', () => {
  it('is what is known of it', () => {
    expect(nameOf({ family: 'Test', given: 'Person' })).toBe('Test, Person');
    expect(nameOf({ family: null, given: 'Person' })).toBe('Person');
    expect(nameOf({ family: null, given: null })).toBe('');
  });
});
