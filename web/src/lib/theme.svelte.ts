// Light, dark, or what the device says.

export const THEMES = ['auto', 'light', 'dark'] as const;
export type Theme = (typeof THEMES)[number];

const KEY = 'bedside.theme';
const kept = localStorage.getItem(KEY);

let chosen = $state<Theme>(kept === 'light' || kept === 'dark' ? kept : 'auto');

export const theme = {
  get chosen() {
    return chosen;
  },
};

export function showTheme(): void {
  if (chosen === 'auto') document.documentElement.removeAttribute('data-theme');
  else document.documentElement.dataset.theme = chosen;
}

export function choose(next: Theme): void {
  chosen = next;
  if (next === 'auto') localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, next);
  showTheme();
}
