import { describe, expect, it } from 'vitest';
import { columns, span, withPoint, type Point } from './trend';

const point = (at_ms: number, value: number) => ({
  device: 'd',
  code: 'c',
  taken: new Date(at_ms).toISOString(),
  value,
});

describe('a trend', () => {
  const points: Point[] = [
    [1000, 70],
    [3000, null],
  ];

  it('takes a point in order of time, late ones too', () => {
    expect(withPoint(points, point(4000, 72))).toEqual([...points, [4000, 72]]);
    expect(withPoint(points, point(2000, 71))).toEqual([points[0], [2000, 71], points[1]]);
    expect(withPoint([], point(5, 1))).toEqual([[5, 1]]);
  });

  it('replaces a value of the same moment', () => {
    expect(withPoint(points, point(1000, 75))).toEqual([[1000, 75], points[1]]);
  });

  it('leaves out what is no number or no time', () => {
    expect(withPoint(points, point(4000, Number.NaN))).toBe(points);
    expect(withPoint(points, { ...point(0, 1), taken: 'later' })).toBe(points);
  });

  it('never grows without limit', () => {
    const full: Point[] = Array.from({ length: 40_000 }, (_, i) => [i, i]);
    const grown = withPoint(full, point(50_000, 1));
    expect(grown.length).toBe(40_000);
    expect(grown[0]).toEqual([1, 1]);
  });

  it('keeps its gaps in the columns and out of the range', () => {
    expect(columns(points)).toEqual([
      [1, 3],
      [70, null],
    ]);
    expect(span(points)).toEqual({ low: 70, high: 70, last: 70 });
    expect(span([[1, null]])).toBeNull();
  });
});
