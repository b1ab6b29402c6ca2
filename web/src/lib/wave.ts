// The last seconds of a wave as points of a chart.

import type { Wave } from './api';
import type { Point } from './trend';

/** Samples in order of time; where two pieces do not meet the line is broken. */
export function strip({ pieces }: Wave): Point[] {
  const points: Point[] = [];
  for (const { from_us, period_ns, origin, factor, samples } of pieces) {
    if (points.length > 0) points.push([from_us / 1000, null]);
    samples.forEach((sample, i) =>
      points.push([
        from_us / 1000 + (i * period_ns) / 1e6,
        sample === null ? null : Number((origin + sample * factor).toPrecision(6)),
      ]),
    );
  }
  return points;
}

/** When the newest sample of any of these waves ends, epoch ms. */
export function newest(waves: readonly Wave[]): number | null {
  const ends = waves.flatMap(({ pieces }) =>
    pieces.map(({ from_us, period_ns, samples }) => from_us / 1000 + (samples.length * period_ns) / 1e6),
  );
  return ends.length > 0 ? Math.max(...ends) : null;
}
