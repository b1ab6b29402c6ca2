import { expect, it } from 'vitest';
import type { Wave } from './api';
import { newest, strip } from './wave';

const wave: Wave = {
  code: '150452',
  label: 'Pleth',
  unit: null,
  pieces: [
    { from_us: 1_000_000, period_ns: 20_000_000, origin: 1, factor: 0.1, samples: [2, null, 3] },
    { from_us: 2_000_000, period_ns: 20_000_000, origin: 1, factor: 0.1, samples: [4] },
  ],
};

it('draws origin + sample × factor, and breaks the line where samples are missing or pieces do not meet', () => {
  expect(strip(wave)).toEqual([
    [1000, 1.2],
    [1020, null],
    [1040, 1.3],
    [2000, null],
    [2000, 1.4],
  ]);
});

it('ends with its last sample', () => {
  expect(newest([wave])).toBe(2020);
  expect(newest([])).toBeNull();
});
