import { describe, expect, it } from 'vitest';
import { pack } from './pack';

const own = (n: number) => n;

describe('packing', () => {
  it('puts each card on the shortest column, the first ones side by side', () => {
    expect(pack([2, 2, 6, 5, 1, 6], 3, own)).toEqual([[2, 5], [2, 1, 6], [6]]);
  });

  it('keeps every card once, in a single column when there is room for no more', () => {
    expect(pack([1, 2, 3], 0, own)).toEqual([[1, 2, 3]]);
    expect(pack([1, 2], 4, own)).toEqual([[1], [2], [], []]);
    expect(pack([], 2, own)).toEqual([[], []]);
  });
});
