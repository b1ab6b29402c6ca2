import { describe, expect, it } from 'vitest';
import { QUARTER_MS, heightOf, isGap, pathsOf, stripOf, type Day } from './day';

const NOON = Date.parse('2026-11-22T12:00:00.000Z');

const of = (n: number): Record<string, number> => (n === 0 ? {} : { icu: n });

/** A day of as many quarters as are given. */
const day = (...entries: (number | null)[]): Day => ({
  quarters: entries.map((n, at) => ({
    begins: new Date(NOON + at * QUARTER_MS).toISOString(),
    entries: n === null ? null : of(n),
    held: of(n === 7 ? 2 : 0),
  })),
  off: [],
});

describe('the last 24 hours of a link', () => {
  it('counts entries, held ones and silent quarters, and says when the last gap was', () => {
    const strip = stripOf(day(0, 3, 0, 0, 7, 0, 5), 'icu');
    expect(strip.entries).toBe(15);
    expect(strip.held).toBe(2);
    expect(strip.silent).toBe(3);
    expect(strip.gap).toEqual({ from_ms: NOON + 5 * QUARTER_MS, until_ms: NOON + 6 * QUARTER_MS });
  });

  it('takes a gap of several quarters as one, and the quarter that is not over as none', () => {
    const strip = stripOf(day(4, 0, 0, 0), 'icu');
    expect(strip.gap).toEqual({ from_ms: NOON + QUARTER_MS, until_ms: NOON + 3 * QUARTER_MS });
    expect(strip.silent).toBe(2);
    expect([0, 1, 2, 3].map((at) => isGap(strip, at))).toEqual([false, true, true, false]);
  });

  it('calls nothing a gap before the first entry, nor what is not known', () => {
    const strip = stripOf(day(0, null, 2, null, 1), 'icu');
    expect(strip.silent).toBe(0);
    expect(strip.gap).toBeNull();
    expect(strip.cells[1]?.entries).toBeNull();
    expect(stripOf(day(1, 1), 'other').entries).toBe(0);
  });

  it('tells a box that was off from a link that was silent', () => {
    const at = (quarter: number) => new Date(NOON + quarter * QUARTER_MS).toISOString();
    const shown = { ...day(4, 0, 0, 0, 0, 2, 1), off: [{ from: at(1.4), until: at(3.6) }] };
    const strip = stripOf(shown, 'icu');
    expect(strip.cells.map(({ off }) => off)).toEqual([false, true, true, true, false, false, false]);
    expect([strip.off, strip.silent]).toEqual([3, 1]);
    expect(strip.gap).toEqual({ from_ms: NOON + 4 * QUARTER_MS, until_ms: NOON + 5 * QUARTER_MS });
    expect(isGap(strip, 2)).toBe(false);
    expect(pathsOf(strip, 20).off.match(/M/g)).toHaveLength(3);
  });

  it('does not call a quarter off in which an entry came', () => {
    const shown = {
      ...day(1, 5, 1),
      off: [{ from: day(1, 1).quarters[1]!.begins, until: '2026-11-22T12:29:00Z' }],
    };
    expect(stripOf(shown, 'icu').off).toBe(0);
  });

  it('shows one entry beside a thousand, and nothing for none', () => {
    expect(heightOf(1, 1000)).toBeGreaterThanOrEqual(0.2);
    expect(heightOf(1000, 1000)).toBe(1);
    expect(heightOf(0, 1000)).toBe(0);
  });

  it('draws bars, gaps, marks of held entries and what is not known apart', () => {
    const paths = pathsOf(stripOf(day(null, 7, 0, 1, 1), 'icu'), 20);
    expect(paths.unknown.match(/M/g)).toHaveLength(1);
    expect(paths.bars.match(/M/g)).toHaveLength(3);
    expect(paths.gaps).toBe('M2.1 4h0.8v16h-0.8z');
    expect(paths.held).toBe('M1.1 0h0.8v3h-0.8z');
  });
});
