// Asks again and again while a page is looked at.

/** Calls `ask` every `ms` until the component goes; a hidden tab does not ask. */
export function every(ms: number, ask: () => unknown): void {
  $effect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) void ask();
    }, ms);
    return () => clearInterval(timer);
  });
}
