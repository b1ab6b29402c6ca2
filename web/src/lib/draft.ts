// A link as it grows in the wizard. It never holds anything of a patient, because it is kept in the browser's session.

import type { ProfileCard, SerialHint, SerialTable } from './pairing';

export const WAYS = ['serial', 'network', 'mqtt', 'folder'] as const;
export type Way = (typeof WAYS)[number];
export const BY_SENDER = 'by-sender';

export interface Draft {
  way: Way | null;
  /** Id of a firmware profile, or `by-sender`. */
  profile: string;
  serial: SerialTable | null;
  /** Who dials: the device (this gateway listens) or this gateway. */
  listen: boolean;
  host: string;
  port: string;
  /** Topics of the gateway's own broker, or of another one. */
  ownBroker: boolean;
  broker: string;
  tls: boolean;
  username: string;
  password_secret: string;
  topics: string;
  folder: string;
  /** Names of the files, with `*` and `?`. */
  files: string;
  place: string;
  name: string;
  zone: string;
  /** The link that was made. */
  made: string | null;
}

export const emptyDraft = (): Draft => ({
  way: null,
  profile: '',
  serial: null,
  listen: true,
  host: '',
  port: '',
  ownBroker: true,
  broker: '',
  tls: true,
  username: '',
  password_secret: '',
  topics: '',
  folder: '',
  files: '*',
  place: '',
  name: '',
  zone: '',
  made: null,
});

const KEY = 'bedside.pairing';

export function keep(draft: Draft): void {
  sessionStorage.setItem(KEY, JSON.stringify(draft));
}

/** What was kept, over an empty draft: members of another version are dropped. */
export function kept(): Draft {
  const empty = emptyDraft();
  try {
    const found: unknown = JSON.parse(sessionStorage.getItem(KEY) ?? '{}');
    if (typeof found !== 'object' || found === null) return empty;
    const known = Object.entries(found).filter(([key]) => key in empty);
    return { ...empty, ...Object.fromEntries(known) };
  } catch {
    return empty;
  }
}

export function forgetDraft(): void {
  sessionStorage.removeItem(KEY);
}

/** Whether devices of this profile can be connected this way. */
export function goes(card: ProfileCard, way: Way): boolean {
  const { serial, tcp, mqtt, udp, folder } = card.transport;
  switch (way) {
    case 'serial':
      return Boolean(serial);
    case 'network':
      return Boolean(tcp || udp);
    case 'mqtt':
      return Boolean(mqtt);
    case 'folder':
      return Boolean(folder);
  }
}

/** Profiles whose maker, model or id hold every word of the search. */
export function matching(cards: readonly ProfileCard[], search: string): ProfileCard[] {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  return cards.filter((card) => {
    const text = `${card.manufacturer} ${card.model} ${card.id}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

/** The usual settings of a profile on this port, without what it does not say. */
export function usual(hint: SerialHint, port: string, baud?: number): SerialTable {
  const { baud: rates, dtr, rts, quiet_timeout_s, ...line } = hint;
  return {
    port,
    ...line,
    baud: baud ?? rates[0] ?? 9600,
    ...(dtr !== null && { dtr }),
    ...(rts !== null && { rts }),
    ...(quiet_timeout_s !== null && { quiet_timeout_s }),
  };
}

const PARITY: Record<string, string> = { none: 'N', even: 'E', odd: 'O' };

/** `9600 8N1`, as the manuals write it. */
export function lineText(table: Record<string, unknown>): string {
  const parity = PARITY[String(table.parity ?? 'none')] ?? String(table.parity);
  return `${String(table.baud)} ${String(table.data_bits ?? 8)}${parity}${String(table.stop_bits ?? 1)}`;
}

export const topicsIn = (text: string): string[] =>
  text
    .split(/[\n,]+/)
    .map((t) => t.trim())
    .filter(Boolean);

/** What a draft with this profile starts from: the settings its maker usually uses. */
export function suggested(draft: Draft, card: ProfileCard | undefined): Partial<Draft> {
  if (draft.way === 'network') {
    const { tcp, udp } = card?.transport ?? {};
    // Over UDP this gateway asks the device.
    return { listen: tcp ? tcp.listen : !udp, port: String((tcp ?? udp)?.port ?? 2575) };
  }
  if (draft.way === 'folder') return { files: card?.transport.folder?.files ?? '*' };
  if (draft.way === 'mqtt') return { topics: (card?.transport.mqtt?.topics ?? ['#']).join('\n') };
  return {};
}

/** A port number, or `null` for what is none. */
export function portNumber(text: string): number | null {
  const port = Number(text);
  return /^\d{1,5}$/.test(text.trim()) && port >= 1 && port <= 65_535 ? port : null;
}

/** Over UDP it is always this gateway that begins. */
export const networkKey = (card: ProfileCard | undefined): 'mllp' | 'tcp' | 'udp' => {
  if (!card || card.codec === 'mllp') return 'mllp';
  return card.transport.udp && !card.transport.tcp ? 'udp' : 'tcp';
};

function wayIn(draft: Draft, card: ProfileCard | undefined): Record<string, unknown> {
  switch (draft.way) {
    case 'serial':
      return { serial: draft.serial };
    case 'network': {
      const host = draft.host.trim();
      const bare = host.includes(':') && !host.startsWith('[') ? `[${host}]` : host;
      const side = draft.listen
        ? { listen: `0.0.0.0:${draft.port.trim()}` }
        : { connect: `${bare}:${draft.port.trim()}` };
      return { [networkKey(card)]: side };
    }
    case 'mqtt': {
      const topics = topicsIn(draft.topics);
      if (draft.ownBroker) return { broker: { topics } };
      const { broker, username, password_secret, tls } = draft;
      const port = portNumber(draft.port);
      return {
        mqtt: {
          broker: broker.trim(),
          topics,
          tls,
          ...(port !== null && { port }),
          ...(username.trim() && { username: username.trim() }),
          ...(password_secret.trim() && { password_secret: password_secret.trim() }),
        },
      };
    }
    case 'folder':
      return { folder: { dir: draft.folder.trim(), files: draft.files.trim() || '*' } };
    case null:
      return {};
  }
}

export interface PatientOfLink {
  system: string;
  value: string;
}

/** The `[[link]]` section this draft stands for. */
export function linkOf(
  draft: Draft,
  card: ProfileCard | undefined,
  patient: PatientOfLink | null,
): Record<string, unknown> {
  return {
    name: draft.name.trim(),
    profile: draft.profile,
    ...(draft.zone && { zone: draft.zone }),
    ...(patient && { patient }),
    ...wayIn(draft, card),
  };
}

/** A name for the link: where the device stands and what it is. 64 characters are the gateway's limit. */
export function nameFor(place: string, card: ProfileCard | undefined): string {
  const what = card ? card.model.split(/[,(]/)[0]?.trim() : '';
  return [place.trim(), what].filter(Boolean).join(', ').slice(0, 64);
}

/** Every zone this browser knows, the site's first. */
export function zones(site: string): string[] {
  const known = typeof Intl.supportedValuesOf === 'function' ? Intl.supportedValuesOf('timeZone') : [];
  return [...new Set([site, 'UTC', ...known])].filter(Boolean);
}
