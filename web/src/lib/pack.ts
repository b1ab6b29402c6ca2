// Cards of unlike height side by side, without holes between them.

/**
 * Deals `items` to columns: each goes to the column that is the shortest so far, the leftmost of equals. It depends on
 * nothing but `height`, so cards whose text changes every second stay where they are.
 */
export function pack<T>(items: readonly T[], columns: number, height: (item: T) => number): T[][] {
  const dealt = Array.from({ length: Math.max(1, Math.floor(columns)) }, () => ({
    sum: 0,
    items: [] as T[],
  }));
  for (const item of items) {
    const shortest = dealt.reduce((best, column) => (column.sum < best.sum ? column : best));
    shortest.items.push(item);
    shortest.sum += height(item);
  }
  return dealt.map((column) => column.items);
}
