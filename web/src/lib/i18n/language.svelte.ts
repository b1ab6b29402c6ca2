// Which language the desk speaks, and its catalogue. English is in the pages themselves; another language is loaded
// when it is wanted, so that nobody waits for those that are not.

/** A translation: a text, or one for each plural form that the language has (CLDR names). */
export type Said = string | Partial<Record<Intl.LDMLPluralRule, string>>;
export type Catalogue = Record<string, Said>;

/** Each language by its own name. */
export const LANGUAGES = { en: 'English', de: 'Deutsch', fr: 'Français', es: 'Español' } as const;
export type Language = keyof typeof LANGUAGES;

/** English stretched by a half, in brackets: shows what is not translated and what does not fit. */
const PSEUDO = 'pseudo';

const LOAD: Record<string, () => Promise<{ default: unknown }>> = {
  de: () => import('./de.json'),
  fr: () => import('./fr.json'),
  es: () => import('./es.json'),
  [PSEUDO]: () => import('./pseudo'),
};
const KEY = 'bedside.language';

let shown = $state<string>('en');
let catalogue: Catalogue = {};
let rules = new Intl.PluralRules('en');
let numbers = new Intl.NumberFormat('en');
let lists = new Intl.ListFormat('en');

export const language = {
  /** BCP 47. */
  get shown(): string {
    return shown;
  },
  get rules() {
    return rules;
  },
  get numbers() {
    return numbers;
  },
  get lists() {
    return lists;
  },
};

export const translation = (text: string): Said | undefined => catalogue[text];

const isKnown = (tag: string): tag is Language => Object.hasOwn(LANGUAGES, tag);

/** The first of the browser's languages that the desk speaks, whatever the country. */
export function preferred(tags: readonly string[]): Language {
  const spoken = tags.map((tag) => tag.toLowerCase().split('-')[0] ?? '');
  return spoken.find(isKnown) ?? 'en';
}

function wanted(): string {
  const kept = localStorage.getItem(KEY);
  if (kept && (isKnown(kept) || kept === PSEUDO)) return kept;
  return preferred(navigator.languages ?? [navigator.language]);
}

async function show(next: string): Promise<void> {
  let fresh: Catalogue = {};
  if (next !== 'en') {
    try {
      fresh = (await LOAD[next]?.())?.default as Catalogue;
    } catch {
      // The gateway cannot be asked for it: better English than an empty page.
      next = 'en';
    }
  }
  const tag = next === PSEUDO ? 'en' : next;
  catalogue = fresh;
  rules = new Intl.PluralRules(tag);
  numbers = new Intl.NumberFormat(tag);
  lists = new Intl.ListFormat(tag);
  document.documentElement.lang = tag;
  shown = next;
}

/** What was chosen here before, else what the browser asks for. */
export const showLanguage = (): Promise<void> => show(wanted());

export async function chooseLanguage(next: Language): Promise<void> {
  localStorage.setItem(KEY, next);
  await show(next);
}
