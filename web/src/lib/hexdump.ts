// Bytes as an engineer reads them: hex with offsets, or text with its control characters named.

const ROW = 16;

/** `hex` may hold spaces or line ends between the bytes. */
export function hexdump(hex: string): string {
  const bytes = hex.replace(/[^0-9a-f]/gi, '').match(/../g) ?? [];
  const rows: string[] = [];
  for (let at = 0; at < bytes.length; at += ROW) {
    const row = bytes.slice(at, at + ROW);
    const left = row.slice(0, 8).join(' ').padEnd(23);
    const right = row.slice(8).join(' ').padEnd(23);
    const shown = row.map((byte) => printable(Number.parseInt(byte, 16))).join('');
    rows.push(`${at.toString(16).padStart(6, '0')}  ${left}  ${right}  ${shown}`);
  }
  return rows.join('\n');
}

const printable = (byte: number): string => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '·');

export interface RawPart {
  control: boolean;
  text: string;
}

/** ISO 646 C0 in order, then what U+2420 and U+2421 stand for. Many fonts lack the pictures themselves. */
const NAMES =
  'NUL SOH STX ETX EOT ENQ ACK BEL BS HT LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US SP DEL'.split(
    ' ',
  );
const CONTROLS = /([\u2400-\u2421]+)/;
/** CR LF, CR or LF end a line on the page as they do on the wire. */
const LINE_END = /(‹CR›‹LF›|‹CR›|‹LF›)/g;

const named = (picture: string): string => `‹${NAMES[picture.charCodeAt(0) - 0x2400]}›`;

/** Raw text, its control characters given as Unicode pictures, split into named controls and the rest. */
export function rawParts(text: string): RawPart[] {
  return text
    .split(CONTROLS)
    .map((part, i) => ({ control: i % 2 === 1, text: part }))
    .filter((part) => part.text !== '')
    .map(({ control, text }) => ({
      control,
      text: control ? Array.from(text, named).join('').replace(LINE_END, '$1\n') : text,
    }));
}
