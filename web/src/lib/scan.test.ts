import { describe, expect, it } from 'vitest';
import { Wedge, codeIn } from './scan';

/** The keys with `every_ms` between them, then Enter. */
function typed(wedge: Wedge, keys: string, every_ms: number, start_ms = 1000): string | null {
  let at_ms = start_ms;
  for (const key of keys) {
    expect(wedge.take(key, at_ms)).toBeNull();
    at_ms += every_ms;
  }
  return wedge.take('Enter', at_ms);
}

describe('a keyboard wedge', () => {
  it('is told by its speed', () => {
    expect(typed(new Wedge(), 'SIM-0001', 5)).toBe('SIM-0001');
    expect(typed(new Wedge(), 'SIM-0001', 120)).toBeNull();
  });

  it('begins anew after a pause, so keys typed before a scan are no part of it', () => {
    const wedge = new Wedge();
    wedge.take('x', 0);
    expect(typed(wedge, 'SIM-0001', 5)).toBe('SIM-0001');
    expect(typed(wedge, 'SIM-0002', 5, 5000)).toBe('SIM-0002');
  });

  it('passes over Shift, which it holds for capitals', () => {
    const wedge = new Wedge();
    wedge.take('Shift', 0);
    expect([...'ABCD'].map((key, i) => (wedge.take('Shift', 8 * i), wedge.take(key, 8 * i + 4)))).toEqual([
      null,
      null,
      null,
      null,
    ]);
    expect(wedge.take('Enter', 32)).toBe('ABCD');
  });

  it('does not take an Enter that a person presses later, nor too short a code', () => {
    const wedge = new Wedge();
    for (const [i, key] of [...'SIM-0001'].entries()) wedge.take(key, 5 * i);
    expect(wedge.take('Enter', 500)).toBeNull();
    expect(typed(new Wedge(), 'AB', 5)).toBeNull();
  });

  it('takes no part of a number for the number when a scan stumbles', () => {
    for (const hole_ms of [60, 150, 290]) {
      const wedge = new Wedge();
      for (const [i, key] of [...'1234'].entries()) wedge.take(key, 5 * i);
      expect(typed(wedge, '56789', 5, 15 + hole_ms)).toBeNull();
      expect(typed(wedge, '123456789', 5, 5000)).toBe('123456789');
    }
  });

  it('forgets what stood before another key', () => {
    const wedge = new Wedge();
    for (const [i, key] of ['A', 'B', 'C', 'D', 'Backspace', 'E'].entries()) wedge.take(key, 5 * i);
    expect(wedge.take('Enter', 30)).toBeNull();
  });
});

describe('a code', () => {
  it('is without what the scanner puts before and around it', () => {
    expect(codeIn(']C1SIM-0001\r\n')).toBe('SIM-0001');
    expect(codeIn(' ]d2 4711 ')).toBe('4711');
    expect(codeIn('4711')).toBe('4711');
  });
});
