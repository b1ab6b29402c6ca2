// Barcodes: a keyboard-wedge scanner types fast and presses Enter; a camera reads where the browser can.

/** A scanner types a key every 2 to 30 ms; people seldom do below 60. */
const FAST_MS = 50;
/** What follows so soon belongs to what was before: a scan with a hole in it is no scan, else its end would be another number. */
const QUIET_MS = 300;
const CODE_MIN = 4;

/** What was scanned: without the AIM symbology identifier (ISO/IEC 15424, e.g. `]C1`) and without control characters. */
export function codeIn(text: string): string {
  const printed = text.replace(/\p{Cc}/gu, '').trim();
  return printed.replace(/^\][A-Za-z][0-9A-Za-z]/, '').trim();
}

/** Whether two codes are one: labels and systems differ in capitals. */
export function sameCode(one: string, other: string): boolean {
  return one.trim().toUpperCase() === other.trim().toUpperCase();
}

/** Tells a scanner's keys from a person's by their rhythm. */
export class Wedge {
  private keys = '';
  private last_ms = -Infinity;
  private torn = false;

  /** Takes a key and when it went down; gives the code when this Enter ends a scan. */
  take(key: string, at_ms: number): string | null {
    if (key === 'Shift' || key === 'AltGraph' || key === 'CapsLock') return null;
    const gap_ms = at_ms - this.last_ms;
    const fast = gap_ms <= FAST_MS;
    this.last_ms = at_ms;
    if (!fast) this.torn = gap_ms <= QUIET_MS;
    if (key === 'Enter') {
      const code = fast && !this.torn ? codeIn(this.keys) : '';
      this.keys = '';
      return code.length >= CODE_MIN ? code : null;
    }
    if ([...key].length !== 1) {
      this.keys = '';
      this.torn = true;
    } else this.keys = fast ? this.keys + key : key;
    return null;
  }
}

interface Detector {
  detect(source: HTMLVideoElement): Promise<{ rawValue: string }[]>;
}
type DetectorClass = new () => Detector;

/** The browser's own barcode reader (Shape Detection), where it has one and may use a camera. */
export function cameraReader(): DetectorClass | null {
  const found = (globalThis as { BarcodeDetector?: DetectorClass }).BarcodeDetector;
  return found && typeof navigator.mediaDevices?.getUserMedia === 'function' ? found : null;
}
